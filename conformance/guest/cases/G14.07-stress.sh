# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.7
# name: a function goes from the callback to its direct entry and back again and again while every CPU calls it, on top of another patch
# source: design: a call that overlaps the change goes to the same target either way
# timeout: 240
. "${KLP_LIB%/*}/entries.sh"
load test_target
load test_value_1
echo value >/sys/module/test_target/parameters/stress
cycle=0
while [ $cycle -lt "${KLP_STRESS_CYCLES:-100}" ]; do
    cycle=$((cycle + 1))
    expect_entry $cheapest test_value_1 test_target test_value "enabled, cycle $cycle"
    disable test_value_1
    echo 1 >$KLP_SYS/test_value_1/enabled 2>/dev/null || {
        # It was gone already.
        gone test_value_1
        load test_value_1
    }
done
expect_entry $cheapest test_value_1 test_target test_value "at last"
echo off >/sys/module/test_target/parameters/stress
expect_stress "$cycle"
revert test_value_1
expect_value 1 "afterwards"
unload test_target
