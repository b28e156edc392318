# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.8
# name: a replacement reaches the original while both tracers watch the function
# source: kmod/include/linux/livepatch.h, KLP_ORIGINAL; design: return trampolines
load test_target
load test_nested
echo test_wide >$KLP_TRACING/set_ftrace_filter
echo function_graph >$KLP_TRACING/current_tracer || fail "there is no function_graph tracer"
expect_says $TARGET/wide 7 "with function_graph"
echo nop >$KLP_TRACING/current_tracer
echo >$KLP_TRACING/set_ftrace_filter
if probes_entries; then
    echo 'r:klp_test test_target:test_wide' >$KLP_TRACING/kprobe_events || fail "no kretprobe can be set"
    echo 1 >$KLP_TRACING/events/kprobes/klp_test/enable || fail "the kretprobe cannot be enabled"
    expect_says $TARGET/wide 7 "with a kretprobe"
    echo 0 >$KLP_TRACING/events/kprobes/klp_test/enable
    echo >$KLP_TRACING/kprobe_events
else
    note "without a kretprobe, which cannot be set here"
fi
revert test_nested
unload test_target
