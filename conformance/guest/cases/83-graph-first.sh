# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.4
# name: a function that the function_graph tracer traces is patched and reverted
# source: Documentation/trace/ftrace.rst, "function_graph"; design: return trampolines
load test_target
trace_on
expect_value 1 "traced"
traced "unpatched"
load test_value_1
expect_value 101 "traced, then patched"
expect_says $TARGET/saved 101 "traced, then patched"
revert test_value_1
expect_value 1 "traced, reverted"
echo >$KLP_TRACING/trace
expect_value 1 "traced, reverted"
traced "reverted"
trace_off
unload test_target
