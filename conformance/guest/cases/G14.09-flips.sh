# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.9
# name: the entry of a function with a slot is flipped tens of thousands of times while every CPU calls it: each call goes to the old or the new
# source: reference/2019-arm64-ftrace-with-regs.txt; design: N,M patch sites
# timeout: 900
. "${KLP_LIB%/*}/entries.sh"
need_slots
flips=/sys/kernel/debug/klp/flips
[ -f $flips ] || mount -t debugfs debugfs /sys/kernel/debug
load test_room
code=$(says $TARGET/code)
load test_room_1
expect_entry slot test_room_1 test_room test_value "at first"
entered=$(says $TARGET/code)
[ "$entered" != "$code" ] || fail "the entry is '$code' before and after: expected a branch"
! echo 10001 2>/dev/null >$flips || fail "10001 flips at a time were accepted"
echo value >/sys/module/test_room/parameters/stress
# Off and on again is two flips. On one CPU after the other, so that the others see the entry in both states.
pairs=$((${KLP_FLIPS:-100000} / 2))
done=0 cpus=$(nproc)
while [ $done -lt $pairs ]; do
    taskset "$(printf %x $((1 << done / 250 % cpus)))" sh -c "echo 250 >$flips" || fail "cannot flip after $done times"
    done=$((done + 250))
done
echo off >/sys/module/test_room/parameters/stress
expect_stress $((2 * done))
note "$((2 * done)) flips: $(awk '{ old += $3; new += $5 } END { print old, "calls of the old function,", new, "of the new" }' $TARGET/stress)"
expect_says $TARGET/code "$entered" "flipped so often"
expect_value 101 "flipped so often"
revert test_room_1
expect_value 1 "reverted"
expect_says $TARGET/code "$code" "reverted"
unload test_room
