# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.2
# name: during a transition the callback decides, both ways; what does not change keeps its entry
# source: design: the cheapest entry; Documentation/livepatch/livepatch.rst, 3 Consistency model
. "${KLP_LIB%/*}/transitions.sh"
. "${KLP_LIB%/*}/entries.sh"
load test_target
load test_value_1
expect_entry $cheapest test_value_1 test_target test_value "before"
load test_universe
go_to_sleep sleep
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
usleep 300000
in_transition test_universe_1 || fail "the transition is over"
for function in universe_sleep universe_which; do
    expect "$(entry_of test_universe_1 test_universe $function)" callback "the entry of $function in transition"
done
expect "$(entry_of test_value_1 test_target test_value)" $cheapest "the entry of what does not change"
expect_value 101 "meanwhile"
expect "$(here) $(which)" "1 1" "the universe of this task and of a new one"
release
settle test_universe_1
wait $sleeper
for function in universe_sleep universe_which; do
    expect_entry $cheapest test_universe_1 test_universe $function "patched"
done
expect "$(here) $(which)" "1 1" "patched"
# And back, reversed on the way.
go_to_sleep sleep
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
usleep 300000
expect "$(entry_of test_universe_1 test_universe universe_which)" callback "the entry on the way back"
expect "$(here) $(which)" "0 0" "on the way back"
echo 1 >$KLP_SYS/test_universe_1/enabled || fail "cannot reverse"
settle test_universe_1
expect_entry $cheapest test_universe_1 test_universe universe_which "after all"
expect "$(here) $(which)" "1 1" "after all"
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
release
gone test_universe_1
wait $sleeper
expect "$(here) $(which)" "0 0" "reverted"
revert test_value_1
unload test_universe test_target
