# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.12
# name: a kprobe that comes and goes while a function with a slot is patched and reverted: it is patched, or refused, never neither
# source: kernel/kprobes.c, register_kprobe; design: a second redirector is refused
# timeout: 900
. "${KLP_LIB%/*}/entries.sh"
need_slots
load test_room
code=$(says $TARGET/code)
load test_kprobe symbol=test_room:test_value churn=1
patched=0 refused=0 round=0 rounds=${KLP_ROUNDS:-60}
# Who comes first is a matter of chance: more rounds, if one of the two has always been.
more_rounds() {
    [ $round -lt $rounds ] && return
    [ $patched -eq 0 ] || [ $refused -eq 0 ] && [ $round -lt $((rounds * 10)) ]
}
while more_rounds; do
    round=$((round + 1))
    if insmod_once "$KLP_MODULES/test_room_1.ko" 2>"$KLP_TMP/said"; then
        patched=$((patched + 1))
        # A kprobe that is hit does not change where the call goes.
        for call in 1 2 3; do
            expect_value 101 "patched in round $round, call $call"
        done
        disable test_room_1
        gone test_room_1
    else
        refused=$((refused + 1))
        grep -q "Device or resource busy" "$KLP_TMP/said" || fail "refused in round $round with '$(cat "$KLP_TMP/said")'"
    fi
    expect_value 1 "not patched, round $round"
done
came=$(says /sys/module/test_kprobe/parameters/came)
unload test_kprobe
note "$patched times patched, $refused times refused; the kprobe came $came times"
[ $patched -gt 0 ] && [ $refused -gt 0 ] || fail "$patched times patched, $refused times refused: expected some of both"
[ "$came" -ge $patched ] || fail "the kprobe came $came times only"
# A kprobe that came after the patch has kept the branch.
load test_room_1
revert test_room_1
expect_value 1 "in the end"
expect_says $TARGET/code "$code" "in the end"
unload test_room
