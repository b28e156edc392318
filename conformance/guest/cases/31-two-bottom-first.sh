# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G3.2
# name: of two patches of one function the later keeps running when the earlier is reverted
# source: design: the redirect engine, a function stack per patched function
load test_target
load test_value_1
load test_value_2
disable test_value_1
expect_value 102 "the upper one alone"
gone test_value_1
expect_value 102 "the upper one alone, the lower unloaded"
expect_says $KLP_SYS/test_value_2/stack_order 1
disable test_value_2
expect_value 1 "none"
gone test_value_2
unload test_target
