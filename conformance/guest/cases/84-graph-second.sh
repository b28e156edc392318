# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.5
# name: a patched function is traced by function_graph, and reverted while it is
# source: Documentation/trace/ftrace.rst, "function_graph"; design: return trampolines
load test_target
load test_value_1
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
