// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The kernel's own livepatch, for comparison; only where CONFIG_LIVEPATCH is on. */
#include "transition_bench_patch.c"

MODULE_INFO(livepatch, "Y");
