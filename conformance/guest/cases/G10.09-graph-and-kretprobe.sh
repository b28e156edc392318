# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.9
# name: function-graph tracing and a kretprobe on one function, whichever came first: the exact list, or unreliable
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
need_entry_probes
stated SECOND_KRETPROBE
load test_stacks
list="stacks_inner stacks_middle stacks_outer stacks_thread"
traced_then_probed() {
    if [ "$SECOND_KRETPROBE" = reliable ]; then
        expect_stack $parked "$list" "$1"
    else
        expect_unreliable $parked "$SECOND_KRETPROBE" "$1"
        expect_within "schedule stacks_inner stacks_middle" "$1"
    fi
}
graph_on "stacks_middle stacks_outer"
probes_on stacks_middle
park nested
traced_then_probed "traced, then probed"
graph_off
traced_then_probed "traced, then probed, traced no more"
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
