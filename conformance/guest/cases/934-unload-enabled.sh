# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.20
# name: refused: unloading an enabled patch, also one that another covers
# source: design: refusals
load test_target
load test_value_1
load test_value_2
for patch in test_value_1 test_value_2; do
    refuse_unload "Resource temporarily unavailable" $patch
    expect_says $KLP_SYS/$patch/enabled 1 "after the refusal"
done
expect_value 102 "after the refusals"
disable test_value_2
expect_value 101 "the lower patch"
disable test_value_1
gone test_value_1 test_value_2
unload test_target
