# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.6
# name: a function with a kretprobe is patched and reverted; the probe sees the result
# source: Documentation/trace/kprobes.rst, "How Does a Return Probe Work?"; design: return trampolines
load test_target

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
probed 1 "unpatched"
load test_value_1
probed 101 "probed, then patched"
expect_says $TARGET/saved 101 "probed, then patched"
revert test_value_1
probed 1 "probed, reverted"
probe_off
unload test_target
