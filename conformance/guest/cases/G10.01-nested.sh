# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.1
# name: threads asleep at a known depth of a module's functions: exactly these functions
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.1 Identifying successful termination
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
park nested
expect_stack $parked "stacks_inner stacks_middle stacks_outer stacks_thread" "three deep"
for depth in 1 2 40; do
    park deep $depth
    expect_stack $parked "stacks_inner $(yes stacks_recurse | head -n $depth | tr '\n' ' ')stacks_deep stacks_thread" "$depth deep"
done
release
unload test_stacks
