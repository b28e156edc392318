# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G5.1
# name: a function is patched and unpatched again and again while every CPU calls it
# source: Documentation/livepatch/livepatch.rst, "Limitations"; design: the engine
# timeout: 240
: "${KLP_STRESS_CYCLES:=200}"
load test_target
echo value >/sys/module/test_target/parameters/stress
stress_cycles test_value_1 "$KLP_STRESS_CYCLES"
echo off >/sys/module/test_target/parameters/stress
expect_stress "$KLP_STRESS_CYCLES"
expect_value 1 "afterwards"
unload test_target
