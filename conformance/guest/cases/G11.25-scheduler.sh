# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.25
# name: schedule() can be patched: in the hybrid model all that sleep hold it up and it is reversed; the immediate model does it
# source: Documentation/livepatch/livepatch.rst, 7 Limitations; design: the engine
# timeout: 120
. "${KLP_LIB%/*}/transitions.sh"
grep -qx schedule $KLP_TRACING/available_filter_functions || skip "schedule() cannot be traced in this kernel"
dir=$KLP_SYS/test_passthrough
load test_passthrough symbol=schedule
expect_says $dir/transition 1 "with all that sleep in it"
[ "$(grep -c ' schedule+0x' $dir/blocked)" -gt 10 ] || fail "too few tasks hold it up in schedule(): $(blocked test_passthrough)"
grep -q '^1 init schedule+0x' $dir/blocked || fail "the first task is not named: $(blocked test_passthrough)"
[ "$(says /sys/module/test_passthrough/parameters/calls)" -gt 0 ] || fail "nobody was switched"
echo 100 >$KLP_PARAMETERS/signal_after_ms
disable test_passthrough
# Threads that were switched while they ran sleep in the replacement now, and wherever they are woken to, they come back to it.
wait_for 3 is_gone test_passthrough || echo 1 >$dir/force || is_gone test_passthrough || fail "it cannot be forced back"
woken_up() { echo 1 2>/dev/null >/sys/module/test_passthrough/parameters/wake; is_gone test_passthrough; }
leave() {
    wait_for 20 woken_up || fail "it does not go in 20 s; $(blocked test_passthrough)"
    gone test_passthrough
}
leave
expect_log "'test_passthrough': reversing transition from patching to unpatching"

load test_passthrough symbol=schedule flags=$IMMEDIATE
settle test_passthrough
before=$(says /sys/module/test_passthrough/parameters/calls)
usleep 100000
[ "$(says /sys/module/test_passthrough/parameters/calls)" -gt "$before" ] || fail "the replacement of schedule() is not called"
disable test_passthrough
leave
echo 15000 >$KLP_PARAMETERS/signal_after_ms
