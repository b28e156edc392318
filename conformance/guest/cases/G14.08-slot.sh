# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.8
# name: a function that ftrace does not know, with room for a slot, is patched through it and reverted, while every CPU calls it
# source: reference/2019-arm64-ftrace-with-regs.txt; design: N,M patch sites
# timeout: 240
. "${KLP_LIB%/*}/entries.sh"
need_slots
load test_room
code=$(says $TARGET/code)
! grep -q "test_value.*\[test_room\]" $KLP_TRACING/available_filter_functions || fail "ftrace knows test_value: expected it not to"
for cycle in 1 2 3; do
    expect_value 1 "cycle $cycle, unpatched"
    load test_room_1
    expect_value 101 "cycle $cycle"
    expect_entry slot test_room_1 test_room test_value "cycle $cycle"
    expect_value 101 "cycle $cycle, settled"
    expect_says $TARGET/saved 101 "cycle $cycle, settled"
    disable test_room_1
    expect_value 1 "cycle $cycle, disabled"
    gone test_room_1
    expect_says $TARGET/code "$code" "cycle $cycle, reverted"
done
echo value >/sys/module/test_room/parameters/stress
stress_cycles test_room_1 "${KLP_STRESS_CYCLES:-100}"
echo off >/sys/module/test_room/parameters/stress
expect_stress "${KLP_STRESS_CYCLES:-100}"
expect_value 1 "afterwards"
expect_says $TARGET/code "$code" "afterwards"
# With the function's module goes the slot.
load test_room_1
expect_entry slot test_room_1 test_room test_value "before the module goes"
unload test_room
expect_entry none test_room_1 test_room test_value "without the module"
load test_room
expect_value 101 "with the module again"
revert test_room_1
expect_value 1 "reverted"
unload test_room
