# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.11
# name: a transition that is held up is reversed, in both directions
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model, and 6 Sysfs
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
dir=$KLP_SYS/test_universe_1
go_to_sleep sleep
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
expect "$(here)" 1 "before it is reversed"
# The task that holds it up is where it should be again: nobody holds it up.
disable test_universe_1
gone test_universe_1
expect_log "'test_universe_1': reversing transition from patching to unpatching"
expect_log "'test_universe_1': unpatching complete"
expect "$(here) $(which)" "0 0" "reversed"
is_asleep $sleeper || fail "the sleeper has left"
release
expect_woken $sleeper "0 0" "reversed"

load test_universe_1 functions=sleep,which
settle test_universe_1
go_to_sleep sleep
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
expect "$(here)" 0 "before it is reversed"
echo 1 >$dir/enabled || fail "unpatching cannot be reversed"
settle test_universe_1
expect_log "'test_universe_1': reversing transition from unpatching to patching"
expect_says $dir/enabled 1 "reversed"
expect "$(here) $(which)" "1 1" "reversed"
is_asleep $sleeper || fail "the sleeper has left"
release
expect_woken $sleeper "1 1" "reversed"
remove test_universe_1
expect "$(here)" 0 "removed"
unload test_universe
