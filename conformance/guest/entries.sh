# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What cases on entries are written with: how calls of a patched function reach its replacement.

# Which kernels have ftrace call what leads to the replacement directly: CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, where the kernel
# shows that it takes direct calls.
KLP_DIRECT=/sys/module/klp/parameters/direct_calls
cheapest=callback
[ -f $KLP_DIRECT ] && cheapest=direct

# Skips the case where functions of modules have no slots of their own.
need_slots() {
    stated NO_SLOTS
    [ -z "$NO_SLOTS" ] || skip "$NO_SLOTS"
}

# entry_of PATCH OBJECT FUNCTION
entry_of() {
    says "$KLP_SYS/$1/$2/$3,1/entry"
}

# is_entered HOW PATCH OBJECT FUNCTION
is_entered() {
    [ "$(entry_of "$2" "$3" "$4")" = "$1" ]
}

# expect_entry HOW PATCH OBJECT FUNCTION WHEN...: now, or when klp.ko has got the time.
expect_entry() {
    how=$1 of=$2 object=$3 function=$4
    shift 4
    wait_for 10 is_entered "$how" "$of" "$object" "$function" ||
        fail "$function of $of, $*: expected to be entered by '$how', found '$(entry_of "$of" "$object" "$function")'"
}
