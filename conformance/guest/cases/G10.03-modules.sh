# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.3
# name: a module's function that calls a second module's that calls back: exactly these functions
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.2 Identifying unwindable code
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
load test_stacks_far
park far
expect_stack $parked "stacks_inner stacks_called_back test_stacks_far stacks_across stacks_thread" "across modules"
release
unload test_stacks test_stacks_far
