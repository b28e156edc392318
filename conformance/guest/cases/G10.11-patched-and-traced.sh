# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.11
# name: patched functions that are traced and probed: the exact list
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
load test_stacks_patch
list="new_stacks_inner stacks_middle klp_original_stacks_middle new_stacks_middle stacks_outer stacks_thread"
graph_on "stacks_inner stacks_middle new_stacks_* stacks_outer"
park nested
walk $parked
expect "$verdict" reliable "traced: $(walked)"
expect_functions "schedule $list kthread" "traced"
[ "$(echo "$found" | grep -o graph | wc -l)" -ge 4 ] || fail "expected the tracer to have most return addresses: $(walked)"
release
graph_off
if ! probes_entries; then
    note "not probed: no kprobe can be at the entry of a function that can be traced"
    revert test_stacks_patch
    unload test_stacks
    exit
fi
probes_on new_stacks_middle stacks_outer
park nested
walk $parked
expect "$verdict" reliable "probed: $(walked)"
expect_functions "schedule $list kthread" "probed"
release
probes_off
revert test_stacks_patch
unload test_stacks
