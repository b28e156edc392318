# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.16
# name: tasks that spin in user mode on every CPU, are stopped, traced, zombies, or idle, hold nothing up
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model
# cpus: 4
# timeout: 240
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
tasks=${KLP_LIB%/*}/tasks
for cpu in $(seq 0 $(($(nproc) - 1))); do
    taskset "$(printf %x $((1 << cpu)))" "$tasks" spin &
    spinners="$spinners $!"
done
state() { grep -q "^State:.$2" /proc/$1/status 2>/dev/null; }
sleep 1000 &
stopped=$!
kill -STOP $stopped
wait_for 5 state $stopped T || fail "task $stopped does not stop"
sleep 1000 &
traced=$!
"$tasks" trace $traced &
tracer=$!
wait_for 5 state $traced t || fail "task $traced is not traced"
# Its parent, which another program has taken the place of, never asks for its status.
sh -c 'sleep 0 & echo $! >"$1"; exec sleep 1000' - "$KLP_TMP/zombie" &
parent=$!
is_zombie() { state "$(says "$KLP_TMP/zombie")" Z; }
wait_for 5 is_zombie || fail "there is no zombie"

for model in $HYBRID $KPATCH; do
    load test_universe_1 functions=which flags=$model
    settle test_universe_1
    expect "$(here) $(which)" "1 1" "patched, flags $model"
    remove test_universe_1
    expect "$(here) $(which)" "0 0" "unpatched, flags $model"
done
klog >"$KLP_TMP/klog"
grep -q "signaling remaining tasks" "$KLP_TMP/klog" && fail "somebody had to be woken"
kill -CONT $stopped
kill -9 $spinners $stopped $tracer $traced $parent
unload test_universe
