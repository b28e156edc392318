# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.24
# name: a CPU goes and comes back while a transition is held up: its idle task and what runs on it are in the right universe
# source: Documentation/core-api/cpu_hotplug.rst; design: the engine
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
online=/sys/devices/system/cpu/cpu1/online
[ -w $online ] || skip "CPU 1 cannot go offline"
load test_universe
on_cpu_1() { taskset 2 cat $UNIVERSE/which; }

# Gone while it is held up, and back while it still is.
go_to_sleep sleep
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
echo 0 >$online || fail "CPU 1 does not go"
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
echo 1 >$online || fail "CPU 1 does not come back"
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
expect "$(on_cpu_1)" 1 "on the CPU that came back"
# Gone while it ends, and while the next one begins and ends.
echo 0 >$online || fail "CPU 1 does not go"
release
settle test_universe_1
wait $sleeper
go_to_sleep sleep
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
echo 1 >$online || fail "CPU 1 does not come back"
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
expect "$(on_cpu_1)" 0 "on the CPU that came back"
echo 0 >$online || fail "CPU 1 does not go"
release
gone test_universe_1
# The machine is stopped, for the model that switches all at once, without it too.
load test_universe_1 functions=which flags=$KPATCH
settle test_universe_1
echo 1 >$online || fail "CPU 1 does not come back"
expect "$(on_cpu_1)" 1 "patched without the CPU"
remove test_universe_1
expect "$(on_cpu_1)" 0 "unpatched"
unload test_universe
