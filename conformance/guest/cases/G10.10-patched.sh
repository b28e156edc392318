# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.10
# name: patched functions on a stack, one that calls its original and one that sleeps: exactly these functions
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses, 4.5 Obscuring of return addresses
. "${KLP_LIB%/*}/stacks.sh"
stated RETURN_STUB
load test_stacks
load test_stacks_patch
list="new_stacks_inner stacks_middle klp_original_stacks_middle new_stacks_middle stacks_outer stacks_thread"
# The kernel's walker knows nothing of a return stub of ours, and lists it.
patched() {
    walk $parked
    expect "$verdict" reliable "$1: $(walked)"
    expect_functions "schedule $list kthread" "$1"
    [ -n "$RETURN_STUB" ] || expect_reliable $parked "$1"
}
park nested
patched "patched"
[ -z "$RETURN_STUB" ] || expect "$(echo "$found" | grep -o patch | wc -l)" 2 "return addresses that our stub keeps: $(walked)"
disable test_stacks_patch
patched "reverted, with the thread still in it"
release
gone test_stacks_patch
park nested
expect_stack $parked "stacks_inner stacks_middle stacks_outer stacks_thread" "reverted"
release
unload test_stacks
