# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G7.6
# name: a patch stays until a task that sleeps in its replacement has left
# source: Documentation/livepatch/livepatch.rst, "Disabling"; design: the engine
load test_target
load test_nested
cat $TARGET/wait >"$KLP_TMP/sleeper" &
sleeper=$!
sleeps() { [ "$(says /sys/module/test_nested/parameters/sleepers)" = 1 ]; }
wait_for 5 sleeps || fail "the replacement does not sleep"
disable test_nested
expect_says $TARGET/calls 1 "reverted"
# The engine looks again and again, and says which task it is, and where.
named() { grep -q "^$sleeper cat new_wait+0x" $KLP_SYS/test_nested/blocked; }
wait_for 10 named || fail "task $sleeper is not named: $(cat $KLP_SYS/test_nested/blocked)"
expect_says $KLP_SYS/test_nested/transition 1 "with a sleeper"
expect_says $KLP_SYS/test_nested/enabled 0 "with a sleeper"
refuse_unload "Resource temporarily unavailable" test_nested
echo >/sys/module/test_nested/parameters/sleepers
wait $sleeper
expect_says "$KLP_TMP/sleeper" 2 "the sleeper's result"
gone test_nested
unload test_target
