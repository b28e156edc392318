# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.15
# name: tasks asleep interruptibly are woken after signal_after_ms: system calls are restarted or end with EINTR, threads go on
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model: fake signal
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
go_to_sleep nap
napper=$sleeper
"${KLP_LIB%/*}/tasks" read $UNIVERSE/intr &
interrupted=$!
wait_for 5 is_asleep $interrupted || fail "task $interrupted does not sleep in intr"
thread nap
load test_universe_1 functions=nap,which
expect_says $KLP_PARAMETERS/signal_after_ms 15000 "as it is from the beginning"
usleep 500000
expect "$(wc -l <$KLP_SYS/test_universe_1/blocked)" 3 "tasks that hold it up: $(blocked test_universe_1)"
echo 100 >$KLP_PARAMETERS/signal_after_ms
settle test_universe_1
expect_log "signaling remaining tasks"
# What it calls next may come before anybody looks at it again.
thread_woke() { thread_is "$thread" "-11 0" || thread_is "$thread" "-11 1"; }
wait_for 5 thread_woke || expect "$(thread_says "$thread")" "-11 0 or -11 1" "what thread $thread got, woken"
wait $interrupted
# EINTR is 4.
expect $? 104 "how task $interrupted ended, woken"
# It sleeps again, in the replacement.
wait_for 5 is_asleep $napper || fail "the task that was woken has not gone back to sleep"
release
expect_woken $napper "1 1" "its system call was restarted"

go_to_sleep nap
disable test_universe_1
gone test_universe_1
wait_for 5 is_asleep $sleeper || fail "the task that was woken has not gone back to sleep"
release
expect_woken $sleeper "0 0" "its system call was restarted"
echo 15000 >$KLP_PARAMETERS/signal_after_ms
unload test_universe
