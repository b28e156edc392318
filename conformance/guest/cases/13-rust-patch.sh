# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.4
# name: a patch written in Rust does what the same one in C does
# source: design: the Rust patch API
load livepatch-cmdline-rust
expect_says /proc/cmdline "this has been live patched, in Rust" "patched"
expect_says $KLP_SYS/livepatch_cmdline_rust/vmlinux/patched 1
revert livepatch_cmdline_rust
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
