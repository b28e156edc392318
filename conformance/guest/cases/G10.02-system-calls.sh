# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.2
# name: every task that is asleep, in a system call or as a thread of the kernel, has a reliable stack
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.1 Identifying successful termination; design: aim of zero
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
sleep 1000 &
sleeper=$!
mkfifo "$KLP_TMP/pipe"
cat "$KLP_TMP/pipe" &
opener=$!
sleep 1000 | cat &
reader=$!
asleep() { grep -q '^State:.S' /proc/$1/status 2>/dev/null; }
for task in $sleeper $opener $reader; do
    wait_for 5 asleep $task || fail "task $task does not sleep"
done
expect_reliable $sleeper "in nanosleep"
expect_within "do_nanosleep hrtimer_nanosleep" "in nanosleep"
expect_reliable $opener "opening a pipe"
expect_within "fifo_open do_dentry_open" "opening a pipe"
expect_reliable $reader "reading a pipe"
expect_within "pipe_read" "reading a pipe"
# One walk of every task. One may run, or be on its way out.
echo 1 >$STACKS/compare
cat $STACKS/compare >"$KLP_TMP/tally"
expect "$(grep -c '^reason' "$KLP_TMP/tally")" 0 "unreliable walks of sleeping tasks: $(cat "$KLP_TMP/tally")"
expect "$(($(tally walks) - $(tally running) - $(tally exited)))" "$(($(tally equal) + $(tally new) + $(tally ours-only)))" \
    "reliable among the sleeping tasks: $(cat "$KLP_TMP/tally")"
[ "$(tally equal)" -gt 20 ] || fail "too few tasks were asleep: $(cat "$KLP_TMP/tally")"
kill $sleeper $opener $reader
rm "$KLP_TMP/pipe"
unload test_stacks
