# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K2.6
# name: kpatch enables a patch again whose disabling is held up
# source: kpatch(1): list, load; Documentation/livepatch/livepatch.rst, "Consistency model"
# timeout: 300

. /klp/kselftest.sh
load test_target
kpatch_says "loading patch module" load "$KLP_MODULES/test_nested.ko"
# Asleep in the replacement.
cat $TARGET/wait >"$KLP_TMP/sleeper" &
sleeper=$!
# Not woken meanwhile, however long this takes.
echo 600000 >/sys/module/klp/parameters/signal_after_ms
sleeps() { [ "$(says /sys/module/test_nested/parameters/sleepers)" = 1 ]; }
wait_for 5 sleeps || fail "the replacement does not sleep"
echo 0 >$LIVEPATCH/test_nested/enabled || fail "the patch cannot be disabled"
kpatch_says '^test_nested \[disabling...\]$' list
kpatch_says "already loaded, re-enabling" load "$KLP_MODULES/test_nested.ko"
kpatch_says '^test_nested \[enabled\]$' list
echo >/sys/module/test_nested/parameters/sleepers
wait $sleeper
expect_says "$KLP_TMP/sleeper" 2 "the sleeper's result"
kpatch_says "unloading patch module: test_nested" unload test_nested
[ ! -d /sys/module/test_nested ] || fail "kpatch unload left the module"
echo 15000 >/sys/module/klp/parameters/signal_after_ms
unload test_target
