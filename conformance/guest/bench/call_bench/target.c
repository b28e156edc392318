// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* In a file of its own, so that it is called and not inlined. */
#include "target.h"

unsigned long call_bench_target(unsigned long value)
{
	return value + 1;
}
