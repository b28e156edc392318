# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.8
# name: kretprobes on functions of a stack: the exact list
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
. "${KLP_LIB%/*}/stacks.sh"
need_entry_probes
load test_stacks
probes_on stacks_inner stacks_outer
park nested
expect_stack $parked "stacks_inner stacks_middle stacks_outer stacks_thread" "probed"
expect "$(echo "$found" | cut -d ' ' -f 3,5)" "probe probe" "how the callers were found: $(walked)"
probes_on stacks_recurse
park deep 5
expect_stack $parked "stacks_inner stacks_recurse stacks_recurse stacks_recurse stacks_recurse stacks_recurse stacks_deep stacks_thread"     "a recursive function probed"
release
probes_off
unload test_stacks
