# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G3.1
# name: of two patches of one function the later runs; reverted from the top
# source: Documentation/livepatch/cumulative-patches.rst; reference/2014-consistency-models.txt
load test_target
load test_value_1
load test_value_2
expect_value 102 "both"
disable test_value_2
expect_value 101 "the lower one alone"
disable test_value_1
expect_value 1 "none"
gone test_value_2 test_value_1
unload test_target
