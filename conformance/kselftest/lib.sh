# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What the cases of this suite have besides the guest suite's lib.sh: the place that the kernel's selftests and kpatch are
# written for.

SELFTESTS=/klp/livepatch
LIVEPATCH=/sys/kernel/livepatch
# Debian's programs come before busybox's in bash. In busybox's own shell its own always come first.
PATH=/usr/sbin:/usr/bin:/bin

# Once a guest.
prepare() {
    [ -e /run/klp-kselftest ] && return
    # The two that scripts name by their path.
    ln -sf /usr/bin/bash /usr/bin/stat /bin/
    # What udev makes; bash's <(...) is a file there.
    [ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
    # The selftests of Linux 6.1 load modules by name.
    mkdir -p "/lib/modules/$(uname -r)/extra"
    cp $SELFTESTS/test_modules/*.ko "/lib/modules/$(uname -r)/extra"
    for file in order builtin builtin.modinfo; do
        : >"/lib/modules/$(uname -r)/modules.$file"
    done
    /usr/bin/depmod || fail "depmod failed"
    # A kernel with livepatch of its own has its patches there.
    [ $LIVEPATCH -ef /sys/kernel/klp ] || mount --bind /sys/kernel/klp $LIVEPATCH || fail "cannot mount on $LIVEPATCH"
    touch /run/klp-kselftest
}

# kselftest SCRIPT: it has to pass, and to have tested something.
kselftest() {
    cd $SELFTESTS || fail "there is no $SELFTESTS"
    [ -e "$1" ] || skip "this series has no $1"
    # KDIR: where modules could be built. They are built already.
    PATH=/klp/bin:$PATH KDIR=$SELFTESTS/test_modules bash "./$1" >"$KLP_TMP/kselftest" 2>&1
    status=$?
    cat "$KLP_TMP/kselftest"
    # A skip of its own (4) too: all that it could miss is here.
    [ $status -eq 0 ] || fail "$1 ended with status $status"
    begun=$(grep -c '^TEST: ' "$KLP_TMP/kselftest")
    [ "$begun" -gt 0 ] || fail "$1 tested nothing"
    expect "$(grep -c '^TEST: .* ok$' "$KLP_TMP/kselftest")" "$begun" "tests that passed in $1"
}

# kernel_has FUNCTION MODULE: skips the case if the selftests' MODULE patches FUNCTION and the kernel has none of that name. What a
# system call's function is called depends on the architecture, and the module knows some of them.
kernel_has() {
    strings "$SELFTESTS/test_modules/$2.ko" 2>/dev/null | grep -qx "$1" || return 0
    grep -q " $1\$" /proc/kallsyms || skip "the kernel has no $1, which its selftests' $2.ko patches: it does not know this architecture"
}

# kpatch_says PATTERN ARGUMENT...: kpatch succeeds with these arguments, and a line of what it says matches.
kpatch_says() {
    pattern=$1
    shift
    kpatch_runs "$@"
    grep -q -e "$pattern" "$KLP_TMP/kpatch" || fail "kpatch $*: expected '$pattern', found: $(cat "$KLP_TMP/kpatch")"
}

# kpatch_lacks PATTERN ARGUMENT...: as kpatch_says, and no line matches.
kpatch_lacks() {
    pattern=$1
    shift
    kpatch_runs "$@"
    ! grep -e "$pattern" "$KLP_TMP/kpatch" || fail "kpatch $*: expected no '$pattern'"
}

kpatch_runs() {
    kpatch "$@" >"$KLP_TMP/kpatch" 2>&1 || fail "kpatch $* failed ($?): $(cat "$KLP_TMP/kpatch")"
}

is_replaced() {
    [ ! -e $LIVEPATCH/test_klp_livepatch ]
}

prepare
