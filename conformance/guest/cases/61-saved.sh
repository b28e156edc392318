# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G6.2
# name: values that a caller holds in registers and on its stack survive a redirected call
# source: the procedure call standard of each architecture's ABI: callee-saved registers
load test_target
expect_says $TARGET/saved 1 "unpatched"
load test_value_1
expect_says $TARGET/saved 101 "patched"
revert test_value_1
expect_says $TARGET/saved 1 "reverted"
unload test_target
