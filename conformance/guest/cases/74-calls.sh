# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G7.5
# name: a replacement calls functions of the kernel, of klp.ko and of a third module
# source: design: arch-ppc64, calls of other kernel and module functions
load test_target
expect_says $TARGET/calls 1 "unpatched"
load test_nested
expect_says $TARGET/calls 42 "patched"
revert test_nested
expect_says $TARGET/calls 1 "reverted"
unload test_target
