# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G7.1
# name: a recursive function and its replacement that recurses through the patched function
# source: design: arch-ppc64, recursion
load test_target
expect_says $TARGET/recurse 1275 "unpatched"
load test_nested
# 51 calls, each of the replacement.
expect_says $TARGET/recurse 52275 "patched"
revert test_nested
expect_says $TARGET/recurse 1275 "reverted"
unload test_target
