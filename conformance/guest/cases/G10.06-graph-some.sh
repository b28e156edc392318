# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.6
# name: function-graph tracing on some functions of a stack: the exact list, while it is on and when it is off again
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
graph_on stacks_middle
park nested
functions_here="stacks_inner stacks_middle stacks_outer stacks_thread"
expect_stack $parked "$functions_here" "traced"
expect "$(echo "$found" | cut -d ' ' -f 4)" graph "how the caller of stacks_middle was found: $(walked)"
expect "$(echo "$found" | grep -o graph | wc -l)" 1 "functions whose return address the tracer has: $(walked)"
graph_off
expect_stack $parked "$functions_here" "traced no more"
expect "$(echo "$found" | cut -d ' ' -f 4)" graph "how the caller of stacks_middle was found: $(walked)"
park nested
expect_stack $parked "$functions_here" "parked later"
expect "$(echo "$found" | grep -c graph)" 0 "parked later: $(walked)"
release
unload test_stacks
