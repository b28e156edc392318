# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.1
# name: the hybrid model: ten calls, and a pair that changes together, are never mixed in one system call, their callers patched too
# source: reference/2014-consistency-models.txt, LEAVE_PATCHED_SET and SWITCH_THREAD; Documentation/livepatch/livepatch.rst, 3 Consistency model
# timeout: 180
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
hammer ten pair
cycles 5 $HYBRID $CALLERS
hammer_off
expect_whole
unload test_universe
