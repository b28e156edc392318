# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.11
# name: a function with room for a slot and a site of ftrace's: entered through ftrace, or refused, before and after another redirector
# source: design: a second redirector is refused; kernel/trace/ftrace.c, FTRACE_OPS_FL_IPMODIFY, test_for_valid_rec
. "${KLP_LIB%/*}/entries.sh"
value=/sys/module/test_both/parameters/value
stated SITE_WITH_ROOM
case $SITE_WITH_ROOM in
at-entry)
    load test_both
    load test_both_1
    expect_says $value 101 "patched"
    expect_entry $cheapest test_both_1 test_both test_value "patched"
    refuse "Device or resource busy" test_ipmodify
    expect_says $value 101 "after the other redirector's refusal"
    revert test_both_1
    expect_says $value 1 "reverted"
    load test_ipmodify
    refuse "Device or resource busy" test_both_1
    expect_says $value 1 "with the other redirector"
    unload test_ipmodify test_both
    ;;
behind)
    # Too far from the function's start, for ftrace as for us.
    load test_both
    for time in before after; do
        refuse "Invalid argument" test_both_1
        expect_log "unexpected code at the ftrace site of function 'test_value'" "behind the function's start"
        expect_says $value 1 "refused, $time the other redirector"
        refuse "Invalid argument" test_ipmodify
    done
    expect_says $value 1 "both refused"
    unload test_both
    ;;
none) skip "the compiler makes room for a slot or a site of ftrace's, not both" ;;
*) fail "SITE_WITH_ROOM is '$SITE_WITH_ROOM', not at-entry, behind or none" ;;
esac
