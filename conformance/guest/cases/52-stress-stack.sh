# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G5.3
# name: a patch comes and goes on top of another while every CPU calls the function
# source: design: the redirect engine, a function stack per patched function
# timeout: 240
: "${KLP_STRESS_CYCLES:=200}"
load test_target
load test_value_2
echo value >/sys/module/test_target/parameters/stress
stress_cycles test_value_1 $((KLP_STRESS_CYCLES / 4))
echo off >/sys/module/test_target/parameters/stress
# The patch below was enabled all the time.
while read -r cpu _ old _ _ _ bad _; do
    expect "$old $bad" "0 0" "original and wrong results on CPU $cpu"
done <$TARGET/stress
expect_value 102 "the patch below"
revert test_value_2
unload test_target
