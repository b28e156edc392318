# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G4.2
# name: a function that a cumulative patch does not name is reverted by it
# source: Documentation/livepatch/cumulative-patches.rst, "Features"
load test_target
load test_many
load test_value_3 replace=1
expect_value 103
expect_says $TARGET/second 2 "not named by the cumulative patch"
expect_says $TARGET/twins "10 20" "not named by the cumulative patch"
expect_says /proc/cmdline "$KLP_CMDLINE" "not named by the cumulative patch"
gone test_many
# And one on top of it.
load test_value_1
expect_value 101
revert test_value_1
expect_value 103
revert test_value_3
unload test_target
