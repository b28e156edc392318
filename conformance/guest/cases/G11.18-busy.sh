# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.18
# name: while a transition is held up nothing else starts: EBUSY, and nothing changes
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model: one transition at a time
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
load test_target
load test_value_1
settle test_value_1
go_to_sleep sleep
load test_universe_1 functions=sleep,which
unchanged() {
    expect_blocked test_universe_1 $sleeper cat "$1"
    expect "$(ls $KLP_SYS | xargs)" "test_universe_1 test_value_1" "patches, $2"
    expect "$(cat $KLP_SYS/test_value_1/enabled $KLP_SYS/test_value_1/transition $KLP_SYS/test_value_1/stack_order | xargs)" "1 0 1" "the other patch, $2"
    expect_value 101 "$2"
}
all_refused() {
    refuse "Device or resource busy\|resource busy" test_universe_2 functions=which
    unchanged "$@"
    refuse "Device or resource busy\|resource busy" test_universe_2 functions=which replace=1
    unchanged "$@"
    refuse "Device or resource busy\|resource busy" test_universe_2 functions=which flags=$IMMEDIATE
    unchanged "$@"
    refuse_store 0 $KLP_SYS/test_value_1/enabled "Device or resource busy\|resource busy" "$2"
    unchanged "$@"
    [ ! -d /sys/module/test_universe_2 ] || fail "test_universe_2 is loaded, $2"
}
all_refused "universe_sleep [test_universe]" "while patching"
expect "$(here)" 1 "while patching"
release
settle test_universe_1
go_to_sleep sleep
disable test_universe_1
all_refused "new_universe_sleep [test_universe_1]" "while unpatching"
expect "$(here)" 0 "while unpatching"
release
gone test_universe_1
# And then it does.
load test_universe_2 functions=which
settle test_universe_2
expect "$(here)" 2 "at last"
remove test_universe_2 test_value_1
unload test_target test_universe
