# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G2.2
# name: a module that is loaded after the patch is patched before its code runs
# source: Documentation/livepatch/module-elf-format.rst and Documentation/livepatch/livepatch.rst, "Livepatch module handling"
load test_value_1
expect_says $KLP_SYS/test_value_1/test_target/patched 0
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 101 "as its init function saw it"
expect_value 101 "patched"
expect_says $KLP_SYS/test_value_1/test_target/patched 1
expect_log "applying patch 'test_value_1' to loading module 'test_target'"
revert test_value_1
expect_value 1 "reverted"
unload test_target
