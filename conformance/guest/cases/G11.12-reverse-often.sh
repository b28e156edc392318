# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.12
# name: a transition is reversed again and again: what counts is the last direction
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
dir=$KLP_SYS/test_universe_1
load test_universe_1 functions=sleep,which
settle test_universe_1
# One in the replacement, and then, unpatching, one in the original: whichever way it goes, one of them holds it up.
go_to_sleep sleep
inside=$sleeper
disable test_universe_1
expect_blocked test_universe_1 $inside cat "new_universe_sleep [test_universe_1]"
go_to_sleep sleep
outside=$sleeper
for turn in 1 2 3 4 5; do
    echo 1 >$dir/enabled || fail "turn $turn: unpatching cannot be reversed"
    expect_blocked test_universe_1 $outside cat "universe_sleep [test_universe]"
    expect "$(here) $(which)" "1 1" "turn $turn, patching"
    expect_says $dir/enabled 1 "turn $turn"
    echo 0 >$dir/enabled || fail "turn $turn: patching cannot be reversed"
    expect_blocked test_universe_1 $inside cat "new_universe_sleep [test_universe_1]"
    expect "$(here) $(which)" "0 0" "turn $turn, unpatching"
    expect_says $dir/enabled 0 "turn $turn"
done
# Without a rest in between.
for turn in $(seq 20); do
    echo $((turn % 2)) >$dir/enabled || fail "quick turn $turn is refused"
done
expect_blocked test_universe_1 $inside cat "new_universe_sleep [test_universe_1]"
release
gone test_universe_1
expect "$(here) $(which)" "0 0" "at the end"
for task in $inside $outside; do
    wait $task
done
expect "$(cut -d ' ' -f 1 "$KLP_TMP/woken.$inside" "$KLP_TMP/woken.$outside" | xargs)" "1 0" "what the sleepers got"
unload test_universe
