# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.7
# name: a patched function gets a kretprobe, and is reverted while it has it
# source: Documentation/trace/kprobes.rst, "How Does a Return Probe Work?"; design: return trampolines
load test_target
load test_value_1

# The return value is what kretprobes see.
probe_on() {
    echo "r:klp_test test_target:test_value result=\$retval:s32" >$KLP_TRACING/kprobe_events || fail "no kretprobe can be set"
    echo 1 >$KLP_TRACING/events/kprobes/klp_test/enable || fail "the kretprobe cannot be enabled"
}
probe_off() {
    echo 0 >$KLP_TRACING/events/kprobes/klp_test/enable
    echo >$KLP_TRACING/kprobe_events
}
probed() {
    echo >$KLP_TRACING/trace
    expect_value "$1" "$2"
    grep -q "klp_test: .*result=$1\$" $KLP_TRACING/trace || fail "the kretprobe did not see $1, $2: $(tail -n 2 $KLP_TRACING/trace)"
}
probe_on
probed 101 "patched, then probed"
expect_says $TARGET/saved 101 "patched, then probed"
probe_off
expect_value 101 "patched, not probed any more"
probe_on
revert test_value_1
probed 1 "probed, reverted"
probe_off
unload test_target
