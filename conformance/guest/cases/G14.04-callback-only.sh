# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.4
# name: a function whose original is called by its replacement stays with the callback; so does any if direct calls are switched off
# source: design: the cheapest entry; kmod/include/linux/livepatch.h, KLP_ORIGINAL
. "${KLP_LIB%/*}/entries.sh"
load test_target
load test_nested
expect_entry $cheapest test_nested test_target test_recurse "that does not call the original"
expect "$(entry_of test_nested test_target test_wide)" callback "the entry of one that does"
expect "$(entry_of test_nested vmlinux cmdline_proc_show)" callback "the entry of one in vmlinux that does"
expect_says $TARGET/wide 7 "what the replacement adds to the original's result"
expect_says /proc/cmdline "before $KLP_CMDLINE" "patched"
revert test_nested
[ $cheapest = direct ] || {
    unload test_target
    exit 0
}
echo 0 >$KLP_DIRECT
load test_value_1
usleep 300000
expect "$(entry_of test_value_1 test_target test_value)" callback "the entry with direct calls switched off"
expect_value 101 "by the callback"
echo 1 >$KLP_DIRECT
load test_value_2
expect_entry direct test_value_2 test_target test_value "switched on again, and something changed"
expect_value 102 "directly"
revert test_value_2 test_value_1
unload test_target
