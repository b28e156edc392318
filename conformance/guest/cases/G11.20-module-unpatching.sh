# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.20
# name: modules that come and go while unpatching is held up, and after it was reversed
# source: Documentation/livepatch/livepatch.rst, 5.4 Disabling; Documentation/livepatch/callbacks.rst
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
load test_target
load test_universe_1 functions=sleep value=1
settle test_universe_1
go_to_sleep sleep
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
expect_value 1 "while unpatching"
unload test_target
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 1 "loaded while unpatching"
expect_value 1 "loaded while unpatching"
echo 1 >$KLP_SYS/test_universe_1/enabled || fail "unpatching cannot be reversed"
settle test_universe_1
expect_value 101 "reversed"
unload test_target
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 101 "loaded after the reverse"
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
expect_value 1 "while unpatching"
unload test_target
release
gone test_universe_1
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 1 "unpatched"
expect_value 1 "unpatched"
unload test_target test_universe
