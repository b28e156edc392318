# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G5.2
# name: functions with all kinds of arguments are patched and unpatched while every CPU calls them
# source: Documentation/livepatch/livepatch.rst, "Limitations"; design: the engine
: "${KLP_STRESS_CYCLES:=200}"
load test_target
echo args >/sys/module/test_target/parameters/stress
stress_cycles test_args $((KLP_STRESS_CYCLES / 20))
echo off >/sys/module/test_target/parameters/stress
expect_stress $((KLP_STRESS_CYCLES / 20))
expect_says $TARGET/args old "afterwards"
unload test_target
