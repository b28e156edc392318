# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.7
# name: function-graph tracing on all functions of a stack, of the scheduler too: the exact list
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
load test_stacks_far
graph_on "stacks_* test_stacks_far schedule"
park nested
expect_stack $parked "stacks_inner stacks_middle stacks_outer stacks_thread" "traced"
[ "$(echo "$found" | grep -o graph | wc -l)" -ge 4 ] || fail "expected the tracer to have all return addresses: $(walked)"
park far
expect_stack $parked "stacks_inner stacks_called_back test_stacks_far stacks_across stacks_thread" "traced"
park deep 20
deep=$parked
expect_stack $deep "stacks_inner $(yes stacks_recurse | head -n 20 | tr '\n' ' ')stacks_deep stacks_thread" "traced"
# The thread's first function too. The kernel's walker on ppc64 does not report what called it.
graph_on kthread
park nested
walk $parked
expect "$verdict" reliable "kthread() traced: $(walked)"
expect_functions "schedule stacks_inner stacks_middle stacks_outer stacks_thread kthread" "kthread() traced"
graph_off
expect_stack $deep "stacks_inner $(yes stacks_recurse | head -n 20 | tr '\n' ' ')stacks_deep stacks_thread" "traced no more"
release
unload test_stacks test_stacks_far
