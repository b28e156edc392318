# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G2.1
# name: a function of a module that is loaded is patched and reverted
# source: Documentation/livepatch/livepatch.rst, "Enabling"
load test_target
expect_value 1 "unpatched"
load test_value_1
expect_value 101 "patched"
expect_says $KLP_SYS/test_value_1/test_target/patched 1
disable test_value_1
expect_value 1 "reverted"
gone test_value_1
unload test_target
