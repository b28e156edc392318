# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.3
# name: the kernel's own livepatch-sample.c works unchanged
# source: design: the C patch API is source compatible with <linux/livepatch.h>
load livepatch-sample
expect_says /proc/cmdline "this has been live patched" "patched"
# Where tools written for the kernel's livepatch look, unless the kernel has one of its own.
if [ -L /sys/kernel/livepatch ]; then
    expect_says /sys/kernel/livepatch/livepatch_sample/enabled 1
fi
revert livepatch_sample
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
