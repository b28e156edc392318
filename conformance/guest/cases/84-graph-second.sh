# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.5
# name: a patched function is traced by function_graph, and reverted while it is
# source: Documentation/trace/ftrace.rst, "function_graph"; design: return trampolines
load test_target
load test_value_1

trace_on() {
    echo test_value >$KLP_TRACING/set_ftrace_filter || fail "test_value is not traceable"
    echo function_graph >$KLP_TRACING/current_tracer || fail "there is no function_graph tracer"
}
trace_off() {
    echo nop >$KLP_TRACING/current_tracer
    echo >$KLP_TRACING/set_ftrace_filter
}
traced() {
    grep -q test_value $KLP_TRACING/trace || fail "the tracer saw no call of test_value, $1"
    echo >$KLP_TRACING/trace
}
trace_on
expect_value 101 "patched, then traced"
expect_says $TARGET/saved 101 "patched, then traced"
trace_off
expect_value 101 "patched, not traced any more"
trace_on
revert test_value_1
expect_value 1 "traced, reverted"
traced "reverted"
trace_off
unload test_target
