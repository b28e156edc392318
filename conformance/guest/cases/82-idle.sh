# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.3
# name: a function that idle tasks run is patched, calls the original, and is reverted
# source: reference/2017-rcu-in-the-ftrace-handler.txt: idle tasks
load test_target
load test_contexts
all_idle() {
    for count in $(cat /sys/module/test_contexts/parameters/idle); do
        [ "$count" -gt 3 ] || return 1
    done
}
wait_for 5 all_idle || fail "calls by the idle task of each CPU: $(cat /sys/module/test_contexts/parameters/idle)"
[ "$(cat /sys/module/test_contexts/parameters/idle | wc -w)" = "$(nproc)" ] || fail "CPUs are missing"
revert test_contexts
unload test_target
