# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G6.1
# name: 1 to 12 arguments, structures and variable arguments arrive, and results come back
# source: the procedure call standard of each architecture's ABI: parameter passing and result return
load test_target
expect_says $TARGET/args old "unpatched"
load test_args
expect_says $TARGET/args new "patched"
revert test_args
expect_says $TARGET/args old "reverted"
unload test_target
