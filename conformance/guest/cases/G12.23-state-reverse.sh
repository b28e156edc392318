# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.23
# name: a transition that is reversed: the callback finds the system states before it, which are there again
# source: Documentation/livepatch/system-state.rst, "Supported scenarios", "Expected usage"
# What the patches' callbacks for vmlinux logged, in order.
said() {
    klog | sed -n 's/.*\(test_api_[123]\): \([a-z_]*\) vmlinux /\1 \2 /p'
}

load test_target
load test_api_1 ids=1 versions=1
load test_nested
cat $TARGET/wait >"$KLP_TMP/sleeper" &
sleeper=$!
sleeps() { [ "$(says /sys/module/test_nested/parameters/sleepers)" = 1 ]; }
wait_for 5 sleeps || fail "the replacement does not sleep"
# The sleeper is in a function that this patch replaces, too.
load test_api_2 ids=1 versions=2 replace=1
expect_says $KLP_SYS/test_api_2/transition 1 "with a sleeper"
disable test_api_2
echo >/sys/module/test_nested/parameters/sleepers
wait $sleeper
gone test_api_2
expect_value 301 "after the transition was reversed"
expect "$(said | grep test_api_2)" "\
test_api_2 pre_patch 1=2/1 2=-/- 3=-/- keeps nothing
test_api_2 post_unpatch 1=2/1 2=-/- 3=-/- keeps nothing" "what the callbacks found"
# What the first patch keeps is still its own.
revert test_nested test_api_1
expect_log "test_api_1: post_unpatch vmlinux 1=1/- 2=-/- 3=-/- keeps test_api_1"
unload test_target
