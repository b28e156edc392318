# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.5
# name: CONSISTENT_IN_TIME, as kpatch: never mixed in one system call, nor between CPUs at one time
# source: reference/2014-consistency-models.txt, LEAVE_PATCHED_SET and SWITCH_KERNEL
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
# All have to be at rest at one moment, on a machine that may be slow.
load test_universe rest_us=10000
hammer ten pair
cycles 3 $KPATCH $CALLERS
hammer_off
expect_whole
expect_at_once 6
unload test_universe
