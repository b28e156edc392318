# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G5.2
# name: functions with all kinds of arguments are patched and unpatched while every CPU calls them
# source: Documentation/livepatch/livepatch.rst, "Limitations"; design: the engine
# timeout: 240
: "${KLP_STRESS_CYCLES:=200}"
# The patch has 17 functions, each of which takes ftrace as long as a patch of one.
# More than one: each CPU has to meet both functions.
cycles=$((KLP_STRESS_CYCLES / 50))
[ $cycles -ge 2 ] || cycles=2
load test_target
echo args >/sys/module/test_target/parameters/stress
stress_cycles test_args $cycles
echo off >/sys/module/test_target/parameters/stress
expect_stress $cycles
expect_says $TARGET/args old "afterwards"
unload test_target
