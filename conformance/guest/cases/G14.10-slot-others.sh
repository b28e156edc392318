# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.10
# name: a function with a slot: two patches stack in either order; a redirector by ftrace is refused, first or second; kprobes, too, if first
# source: kernel/trace/ftrace.c, FTRACE_OPS_FL_IPMODIFY; design: a second redirector is refused
. "${KLP_LIB%/*}/entries.sh"
need_slots
load test_room
code=$(says $TARGET/code)

# expect_room PATCH WHEN...: it is the one that calls reach.
expect_room() {
    patch=$1
    shift
    expect_value $((100 + ${patch#test_room_})) "$*"
    expect_entry slot "$patch" test_room test_value "$*"
    expect_value $((100 + ${patch#test_room_})) "$*, settled"
}

refuse "Invalid argument" test_ipmodify
for first in 1 2; do
    second=$((3 - first))
    load test_room_$first
    expect_room test_room_$first "patched by $first"
    refuse "Invalid argument" test_ipmodify
    expect_room test_room_$first "after the refusal of the other redirector"
    load test_room_$second
    expect_room test_room_$second "patched by $first, then by $second"
    disable test_room_$second
    expect_room test_room_$first "patched by $first only"
    gone test_room_$second
    revert test_room_$first
    expect_value 1 "reverted"
    expect_says $TARGET/code "$code" "reverted"
done

# A kprobe keeps the instruction that it finds, and goes on with that.
for disabled in 0 1; do
    load test_kprobe symbol=test_room:test_value disabled=$disabled
    refuse "Device or resource busy" test_room_1
    expect_log "a kprobe on function 'test_value' would undo the redirect"
    expect_value 1 "probed"
    unload test_kprobe
done
for disabled in 0 1; do
    load test_room_1
    expect_room test_room_1 "no longer probed"
    load test_kprobe symbol=test_room:test_value disabled=$disabled
    expect_room test_room_1 "patched, then probed"
    disable test_room_1
    expect_value 1 "reverted, probed"
    gone test_room_1
    unload test_kprobe
    expect_value 1 "reverted, no longer probed"
done
load test_kprobe symbol=test_room:test_value
expect_value 1 "probed"
expect_says /sys/module/test_kprobe/parameters/hits 1 "after one call"
unload test_kprobe
load test_room_1
expect_room test_room_1 "patched again"
revert test_room_1
expect_value 1 "reverted again"
expect_says $TARGET/code "$code" "reverted again"
unload test_room
