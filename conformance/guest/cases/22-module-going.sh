# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G2.3
# name: a patched module can be unloaded, and loaded again
# source: Documentation/livepatch/livepatch.rst, "Livepatch module handling"
load test_target
load test_value_1
load test_value_2
expect_value 102
unload test_target
expect_log "reverting patch 'test_value_1' on unloading module 'test_target'"
expect_log "reverting patch 'test_value_2' on unloading module 'test_target'"
expect_says $KLP_SYS/test_value_1/enabled 1
expect_says $KLP_SYS/test_value_1/test_target/patched 0
load test_target
expect_value 102 "loaded again"
disable test_value_2
expect_value 101 "the patch below"
gone test_value_2
unload test_target
revert test_value_1
# Now nothing may be left of it.
load test_target
expect_value 1
unload test_target
