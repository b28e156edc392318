// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What the patches replace. In a file of its own, so that it is called and not inlined. */
#include "bench.h"

unsigned long transition_bench_target(unsigned long value)
{
	return value + 1;
}

/* A task that is in here keeps the old functions, and holds the transition up. */
int transition_bench_hold(void)
{
	while (transition_bench_answer())
		;
	return 0;
}
