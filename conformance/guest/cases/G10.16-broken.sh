# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.16
# name: a stack that is broken is unreliable, and logged once, with the words where it is broken; debugfs shows one task or all
# source: Documentation/livepatch/reliable-stacktrace.rst, 2. Requirements
. "${KLP_LIB%/*}/stacks.sh"
shown=/sys/kernel/debug/klp/stacks
load test_stacks
park nested
show() { echo "$1" >$shown; cat $shown >"$KLP_TMP/shown"; }
show $parked
expect "$(grep -c '^[0-9]' "$KLP_TMP/shown")" 1 "tasks shown for one pid"
expect "$(head -n 1 "$KLP_TMP/shown")" "$parked (stacks-nested) reliable" "the task as it is"
for function in stacks_inner stacks_middle stacks_outer stacks_thread; do
    grep -q "^  $function+0x" "$KLP_TMP/shown" || fail "$function is not shown: $(cat "$KLP_TMP/shown")"
done
# Mended before anything is judged: with a broken stack the thread cannot go on.
echo $parked >$STACKS/spoil
show $parked
cp "$KLP_TMP/shown" "$KLP_TMP/first"
show $parked
cp "$KLP_TMP/shown" "$KLP_TMP/second"
echo $parked >$STACKS/spoil
for time in first second; do
    case $(head -n 1 "$KLP_TMP/$time") in
    "$parked (stacks-nested) unreliable not-text: "*) ;;
    *) fail "the $time time: expected 'unreliable not-text', found: $(cat "$KLP_TMP/$time")" ;;
    esac
done
expect "$(klog | grep -c 'cannot be walked')" 1 "lines in the kernel log about a stack (it has: $(dmesg | grep 'cannot be walked'))"
expect_log "the stack of task $parked (stacks-nested) cannot be walked (not-text)"
[ "$(klog | grep -cE ' [0-9a-f]{16}: [0-9a-f]{16} ')" -ge 2 ] || fail "the words of the stack are not in the kernel log: $(klog)"
show $parked
expect "$(head -n 1 "$KLP_TMP/shown")" "$parked (stacks-nested) reliable" "mended"
show 0
expect "$(grep -c "^$parked (stacks-nested) reliable" "$KLP_TMP/shown")" 1 "the task among all"
[ "$(grep -c '^[0-9]' "$KLP_TMP/shown")" -gt 20 ] || fail "not all tasks are shown: $(cat "$KLP_TMP/shown")"
for bad in x -1 ''; do
    if echo "$bad" >$shown 2>/dev/null; then fail "'$bad' was taken for a pid"; fi
done
release
unload test_stacks
