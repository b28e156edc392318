# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.9
# name: function-graph tracing and a kretprobe on one function, whichever came first: the exact list, or unreliable
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
list="stacks_inner stacks_middle stacks_outer stacks_thread"
# both WHEN: where the tracers do not know of each other, the return address that one of them set is lost to the other,
# whose own is then never returned to.
both() {
    walk $parked
    case $verdict in
    reliable) expect_stack $parked "$list" "$1" ;;
    "unreliable return-left "* | "unreliable return-lost "*) expect_within "schedule stacks_inner stacks_middle" "$1" ;;
    *) fail "$1: expected reliable, return-left or return-lost: $(walked)" ;;
    esac
    [ "$(uname -m)" != x86_64 ] || expect "$verdict" reliable "$1: $(walked)"
}
graph_on "stacks_middle stacks_outer"
probes_on stacks_middle
park nested
both "traced, then probed"
graph_off
both "traced, then probed, traced no more"
release
probes_off
probes_on stacks_middle
graph_on "stacks_middle stacks_outer"
park nested
both "probed, then traced"
release
graph_off
probes_off
unload test_stacks
