# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.1
# name: a function is entered directly once it is settled, by the callback while something changes, by nothing when it is reverted
# source: design: the cheapest entry; kernel/trace/ftrace.c, register_ftrace_direct
. "${KLP_LIB%/*}/entries.sh"
stated CHEAPEST_ENTRY
expect $cheapest "$CHEAPEST_ENTRY" "the cheapest entry that klp.ko knows here"
load test_target
for cycle in 1 2 3; do
    load test_value_1
    expect_value 101 "cycle $cycle"
    expect_entry $cheapest test_value_1 test_target test_value "cycle $cycle"
    expect_value 101 "cycle $cycle, settled"
    disable test_value_1
    expect_value 1 "cycle $cycle, disabled"
    gone test_value_1
    expect_value 1 "cycle $cycle, gone"
done
# As if the replacement were far away, which arm64 enters in another way.
echo 1 >/sys/module/klp/parameters/out_of_reach
load test_value_1
expect_entry $cheapest test_value_1 test_target test_value "out of reach"
expect_value 101 "out of reach, settled"
expect_says $TARGET/saved 101 "out of reach, settled"
revert test_value_1
echo 0 >/sys/module/klp/parameters/out_of_reach
# Stacked: what is on top runs, whatever comes and goes below.
load test_value_1
expect_entry $cheapest test_value_1 test_target test_value "alone"
load test_value_2
expect_value 102 "two"
expect_entry $cheapest test_value_2 test_target test_value "two"
expect_value 102 "two, settled"
expect_entry $cheapest test_value_1 test_target test_value "two: it is the same function"
revert test_value_2
expect_value 101 "one again"
expect_entry $cheapest test_value_1 test_target test_value "one again"
expect_value 101 "one again, settled"
# With the function's module goes the entry.
unload test_target
expect_entry none test_value_1 test_target test_value "without the module"
load test_target
expect_value 101 "with the module again"
expect_entry $cheapest test_value_1 test_target test_value "with the module again"
expect_value 101 "with the module again, settled"
unload test_target
load test_target
revert test_value_1
expect_value 1 "reverted"
unload test_target
