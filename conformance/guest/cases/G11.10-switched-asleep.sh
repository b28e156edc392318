# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.10
# name: the hybrid model switches a task that is asleep elsewhere in a system call; CONSISTENT_IN_THREAD waits until it has left
# source: reference/2014-consistency-models.txt, LEAVE_PATCHED_SET and LEAVE_KERNEL
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
go_to_sleep hold
load test_universe_1 functions=which
settle test_universe_1
release
expect_woken $sleeper "0 1" "the hybrid model"
go_to_sleep hold
disable test_universe_1
gone test_universe_1
release
expect_woken $sleeper "1 0" "the hybrid model, unpatching"

# Signals bring all others to the border of the kernel; this one only hears of those that end it.
echo 100 >$KLP_PARAMETERS/signal_after_ms
go_to_sleep hold
load test_universe_1 functions=which flags=$KGRAFT
held() { lists test_universe_1 $sleeper cat "" || grep -q "^$sleeper cat in-kernel " $KLP_SYS/test_universe_1/blocked; }
wait_for 5 held || fail "task $sleeper is not named; $(blocked test_universe_1)"
expect_says $KLP_SYS/test_universe_1/transition 1 "with a task in the kernel"
release
expect_woken $sleeper "0 0" "CONSISTENT_IN_THREAD"
settle test_universe_1
go_to_sleep hold
disable test_universe_1
wait_for 5 held || fail "task $sleeper is not named; $(blocked test_universe_1)"
release
expect_woken $sleeper "1 1" "CONSISTENT_IN_THREAD, unpatching"
gone test_universe_1
echo 15000 >$KLP_PARAMETERS/signal_after_ms
unload test_universe
