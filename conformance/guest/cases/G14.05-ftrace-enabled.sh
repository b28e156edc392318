# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.5
# name: ftrace cannot be switched off while a function is entered directly
# source: Documentation/admin-guide/sysctl/kernel.rst, ftrace_enabled; kernel/trace/ftrace.c, FTRACE_OPS_FL_PERMANENT
. "${KLP_LIB%/*}/entries.sh"
load test_target
load test_value_1
expect_entry $cheapest test_value_1 test_target test_value "patched"
if { echo 0 >/proc/sys/kernel/ftrace_enabled; } 2>"$KLP_TMP/said"; then
    fail "ftrace was switched off: expected 'Device or resource busy'"
fi
grep -q "busy" "$KLP_TMP/said" || fail "expected 'Device or resource busy', found '$(cat "$KLP_TMP/said")'"
expect "$(cat /proc/sys/kernel/ftrace_enabled)" 1 "kernel.ftrace_enabled"
expect_value 101 "afterwards"
revert test_value_1
echo 0 >/proc/sys/kernel/ftrace_enabled || fail "without patches ftrace cannot be switched off"
echo 1 >/proc/sys/kernel/ftrace_enabled
unload test_target
