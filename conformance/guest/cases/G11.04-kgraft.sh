# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.4
# name: CONSISTENT_IN_THREAD, as kGraft: calls are never mixed in one system call, though their callers are not patched
# source: reference/2014-consistency-models.txt, LEAVE_KERNEL and SWITCH_THREAD
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
echo 200 >$KLP_PARAMETERS/signal_after_ms
hammer ten pair
cycles 3 $KGRAFT $CALLED
hammer_off
expect_whole
echo 15000 >$KLP_PARAMETERS/signal_after_ms
unload test_universe
