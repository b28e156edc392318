# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.6
# name: a patch that still drains can be enabled again
# source: Documentation/ABI/testing/sysfs-kernel-livepatch, enabled: a transition can be reversed
load test_target
load test_nested
cat $TARGET/wait >"$KLP_TMP/sleeper" &
sleeper=$!
sleeps() { [ "$(says /sys/module/test_nested/parameters/sleepers)" = 1 ]; }
wait_for 5 sleeps || fail "the replacement does not sleep"
disable test_nested
expect_says $TARGET/calls 1 "reverted"
expect_says $KLP_SYS/test_nested/transition 1 "draining"
expect_says $KLP_SYS/test_nested/enabled 0 "draining"
echo 1 >$KLP_SYS/test_nested/enabled || fail "it cannot be enabled again"
expect_says $KLP_SYS/test_nested/enabled 1 "enabled again"
# Switched task by task: whoever cannot be yet is tried again.
wait_for 5 settled test_nested || fail "it is still in transition: $(cat $KLP_SYS/test_nested/blocked)"
expect_says $TARGET/calls 42 "enabled again"
echo >/sys/module/test_nested/parameters/sleepers
wait $sleeper
expect_says "$KLP_TMP/sleeper" 2 "the sleeper's result"
expect_says $TARGET/wide 7 "a replacement that calls the original, enabled again"
revert test_nested
expect_says $TARGET/wide 0 "reverted"
unload test_target
