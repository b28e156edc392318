# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.13
# name: a task asleep in its own exit has a reliable stack; one that has exited has none
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.1 Identifying successful termination
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
sleep 0 <$STACKS/exit &
exiting=$!
wait_for 5 is_parked $exiting || fail "task $exiting is not asleep in its exit"
expect_reliable $exiting "exiting"
expect_within "schedule stacks_sleep_here stacks_exit" "exiting"
expect_within "task_work_run do_exit do_group_exit" "exiting"
release
wait $exiting
# Its parent, which another program has taken the place of, never asks for its status.
sh -c 'sleep 0 & exec sleep 1000' &
parent=$!
exited() {
    for stat in /proc/[0-9]*/stat; do
        read -r pid _ state ppid _ <"$stat" 2>/dev/null || continue
        [ "$state $ppid" = "Z $parent" ] && return
    done
    return 1
}
wait_for 5 exited || fail "no child of $parent has exited"
# Its last switch gives the stack back.
given_back() { walk "$pid"; [ "${verdict% *}" = "unreliable no-stack" ]; }
wait_for 2 given_back || fail "exited: expected 'unreliable no-stack', found: $(walked)"
kill $parent
unload test_stacks
