# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.5
# name: shadow variables are attached, found and freed with interrupts off, in a timer and in an interrupt
# source: Documentation/livepatch/shadow-vars.rst; kernel/livepatch/shadow.c: a spinlock with interrupts off, the caller's gfp_t
load test_shadow
expect_says /proc/test_shadow/contexts ok
unload test_shadow
