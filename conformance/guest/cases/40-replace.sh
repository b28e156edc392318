# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G4.1
# name: a cumulative patch takes the place of all others, whose modules can be unloaded
# source: Documentation/livepatch/cumulative-patches.rst, "Usage"
load test_target
load test_value_1
load test_value_2
load livepatch-cmdline
load test_many replace=1
expect_value 201
expect_says /proc/cmdline "cmdline by test_many"
gone test_value_1 test_value_2 livepatch_cmdline
expect "$(ls $KLP_SYS)" test_many "patches left"
expect_value 201 "the others unloaded"
revert test_many
expect_value 1 "nothing below comes back"
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
unload test_target
