# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.6
# name: refused: a second redirector of a function that is entered directly, a second direct call; where there is one already, the callback stays
# source: kernel/trace/ftrace.c, FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_PEER, register_ftrace_direct
. "${KLP_LIB%/*}/entries.sh"
load test_target
load test_value_1
expect_entry $cheapest test_value_1 test_target test_value "patched"
refuse "Device or resource busy" test_ipmodify
expect_value 101 "after the other redirector's refusal"
expect "$(entry_of test_value_1 test_target test_value)" $cheapest "the entry after the other redirector's refusal"
[ $cheapest = direct ] || {
    revert test_value_1
    unload test_target
    exit 0
}
refuse "Device or resource busy" test_direct
expect_value 101 "after the other direct call's refusal"
revert test_value_1
load test_direct
expect_value 1 "with another direct call"
load test_value_1
expect_value 101 "with another direct call, patched"
usleep 300000
expect "$(entry_of test_value_1 test_target test_value)" callback "the entry with another direct call"
expect_says $TARGET/saved 101 "with another direct call, patched"
unload test_direct
expect_value 101 "without the other direct call"
revert test_value_1
expect_value 1 "reverted"
unload test_target
