# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G7.3
# name: a replacement calls the original, of vmlinux and of a module, with twelve arguments
# source: kmod/include/linux/livepatch.h, KLP_ORIGINAL
load test_target
expect_says $TARGET/wide 0 "unpatched"
load test_nested
expect_says $TARGET/wide 7 "what the replacement adds to the original's result"
expect_says /proc/cmdline "before $KLP_CMDLINE" "patched"
revert test_nested
expect_says $TARGET/wide 0 "reverted"
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
unload test_target
