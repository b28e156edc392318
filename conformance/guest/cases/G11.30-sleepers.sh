# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.30
# name: 5,000 tasks that sleep, half of them threads of the kernel: a transition ends, and one of them in what is patched holds it up
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model
# cpus: 4
# timeout: 120
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
# By default what fits into an eighth of the memory (set_max_threads in kernel/fork.c): too few where stacks are large.
limit=/proc/sys/kernel/threads-max
# In one read(2): the file ends behind what that took.
before=$(cat $limit)
echo 20000 >$limit
"${KLP_LIB%/*}/tasks" threads 2500 &
user=$!
echo "rest 2500" >$UNIVERSE/threads || fail "no threads can be started"
tasks() { awk '{ sub(".*/", "", $4); print $4 }' /proc/loadavg; }
[ "$(tasks)" -ge 5000 ] || fail "there are only $(tasks) tasks"
timed() {
    start=$(hundredths)
    "$@"
    took=$(($(hundredths) - start))
    note "$(tasks) tasks, $1 $2: $((took * 10)) ms"
}
patch() { load test_universe_1 functions=which,sleep flags=$1; settle test_universe_1; }
for model in $HYBRID $KPATCH; do
    timed patch $model
    expect "$(here)" 1 "with $(tasks) tasks"
    timed remove test_universe_1
done
go_to_sleep sleep
load test_universe_1 functions=which,sleep
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
release
settle test_universe_1
remove test_universe_1
kill $user
echo stop >$UNIVERSE/threads
are_gone() { [ "$(tasks)" -lt 1000 ]; }
wait_for 30 are_gone || fail "$(tasks) tasks are still there"
echo "$before" >$limit
unload test_universe
