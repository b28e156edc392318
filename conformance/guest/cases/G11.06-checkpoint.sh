# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.6
# name: both, a checkpoint: never mixed in one system call or between CPUs, though the callers are not patched
# source: reference/2014-consistency-models.txt, LEAVE_KERNEL and SWITCH_KERNEL
# cpus: 4
# timeout: 300
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
echo 200 >$KLP_PARAMETERS/signal_after_ms
hammer ten pair
cycles 2 $CHECKPOINT $CALLED
hammer_off
expect_whole
expect_at_once 4
echo 15000 >$KLP_PARAMETERS/signal_after_ms
unload test_universe
