# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G3.4
# name: a lower patch that is loaded again comes on top
# source: Documentation/ABI/testing/sysfs-kernel-livepatch, stack_order
load test_target
load test_value_1
load test_value_2
revert test_value_1
load test_value_1
expect_value 101
expect_says $KLP_SYS/test_value_2/stack_order 1
expect_says $KLP_SYS/test_value_1/stack_order 2
revert test_value_1
expect_value 102
revert test_value_2
unload test_target
