# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G7.2
# name: two patched functions that call each other
# source: design: arch-ppc64, recursion
load test_target
expect_says $TARGET/mutual 77 "unpatched"
load test_nested
# 26 calls of the one, 25 of the other.
expect_says $TARGET/mutual 7700 "patched"
revert test_nested
expect_says $TARGET/mutual 77 "reverted"
unload test_target
