# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.9
# name: function-graph tracing and a kretprobe on one function, whichever came first: the exact list, or unreliable
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
# Where both keep a function's return address, one of them has the other's trampoline.
list="stacks_inner stacks_middle stacks_outer stacks_thread"
graph_on "stacks_middle stacks_outer"
probes_on stacks_middle
park nested
expect_stack $parked "$list" "traced, then probed"
graph_off
expect_stack $parked "$list" "traced, then probed, traced no more"
release
probes_off
probes_on stacks_middle
graph_on "stacks_middle stacks_outer"
park nested
expect_stack $parked "$list" "probed, then traced"
release
graph_off
probes_off
unload test_stacks
