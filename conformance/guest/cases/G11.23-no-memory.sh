# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.23
# name: allocations that fail, with a task asleep in what is patched, reversed or replaced, leave all as it was
# source: design: refusals; fault injection: klp.fail_nth
# timeout: 120
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
fail_step=3
fail_nth=$KLP_PARAMETERS/fail_nth

go_to_sleep sleep
unharmed() {
    expect "$(ls $KLP_SYS)" "" "patches, $1"
    expect "$(here) $(which)" "0 0" "$1"
    is_asleep $sleeper || fail "the sleeper has left, $1"
}
fail_each test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"

# A reverse either is one or changes nothing.
reversed=0
for nth in 1 2 3; do
    echo $nth >$fail_nth
    if echo 0 2>/dev/null >$KLP_SYS/test_universe_1/enabled; then
        reversed=$((reversed + 1))
        echo 0 >$fail_nth
        gone test_universe_1
        unharmed "reversed, allocation $nth failing"
        load test_universe_1 functions=sleep,which
    fi
    echo 0 >$fail_nth
    expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
    expect_says $KLP_SYS/test_universe_1/enabled 1 "a reverse that failed with allocation $nth"
done
note "with allocation 1, 2, 3 failing $reversed of 3 reverses were done, the others changed nothing"
release
settle test_universe_1
wait $sleeper

go_to_sleep sleep
unharmed() {
    expect "$(ls $KLP_SYS)" test_universe_1 "patches, $1"
    expect "$(cat $KLP_SYS/test_universe_1/enabled $KLP_SYS/test_universe_1/transition | xargs)" "1 0" "the patch below, $1"
    expect "$(here) $(which)" "1 1" "$1"
    is_asleep $sleeper || fail "the sleeper has left, $1"
}
fail_each test_universe_2 functions=which replace=1
expect_blocked test_universe_2 $sleeper cat "new_universe_sleep [test_universe_1]"
release
settle test_universe_2
gone test_universe_1

# Nor does taking it back.
refused=0
until echo $((refused + 1)) >$fail_nth && echo 0 2>/dev/null >$KLP_SYS/test_universe_2/enabled; do
    refused=$((refused + 1))
    [ $refused -le 50 ] || fail "it cannot be disabled, whichever allocation fails"
    expect "$(cat $KLP_SYS/test_universe_2/enabled $KLP_SYS/test_universe_2/transition | xargs)" "1 0" "allocation $refused failed"
    expect "$(here)" 2 "allocation $refused failed"
done
echo 0 >$fail_nth
gone test_universe_2
unload test_universe
