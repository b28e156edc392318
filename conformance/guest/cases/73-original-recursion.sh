# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G7.4
# name: an original called by its replacement recurses through the patched function
# source: kmod/include/linux/livepatch.h, KLP_ORIGINAL
load test_target
expect_says $TARGET/deep 51 "unpatched"
load test_nested
# 51 calls of the replacement, 51 of the original.
expect_says $TARGET/deep 51051 "patched"
revert test_nested
expect_says $TARGET/deep 51 "reverted"
unload test_target
