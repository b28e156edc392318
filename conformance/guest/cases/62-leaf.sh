# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G6.3
# name: a replacement of a static leaf function may use every register that the ABI gives it
# source: the procedure call standard of each architecture's ABI; gcc's -fipa-ra
load test_target
expect_says $TARGET/leaf 2 "unpatched"
load test_args
expect_says $TARGET/leaf 1002 "patched"
revert test_args
expect_says $TARGET/leaf 2 "reverted"
unload test_target
