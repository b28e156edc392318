// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The functions that are patched, as universe 0 has them. */
#include <linux/export.h>
#include <linux/sched.h>

#include "target.h"

int universe_add(int value);
u64 universe_seal(u64 value);
u64 universe_open(u64 sealed);

UNIVERSE_FUNC int universe_which(void)
{
	return 0;
}

UNIVERSE_FUNC int universe_add(int value)
{
	return universe_do_add(0, value);
}

UNIVERSE_FUNC int universe_ten(void)
{
	return universe_do_ten(&test_universe_calls);
}

UNIVERSE_FUNC u64 universe_seal(u64 value)
{
	return universe_do_seal(0, value);
}

UNIVERSE_FUNC u64 universe_open(u64 sealed)
{
	return universe_do_seal(0, sealed);
}

UNIVERSE_FUNC int universe_pair(u64 value)
{
	return universe_do_pair(&test_universe_calls, value);
}

/* Only a task's end or release() ends it. */
UNIVERSE_FUNC int universe_sleep(void)
{
	return universe_do_sleep(&test_universe_calls, 0, TASK_KILLABLE);
}

/* Signals end it too, or, in a thread of the kernel, anything that wakes the thread. */
UNIVERSE_FUNC int universe_nap(void)
{
	return universe_do_sleep(&test_universe_calls, 0, TASK_INTERRUPTIBLE);
}

const struct universe_calls test_universe_calls = {
	.which = universe_which,
	.add = universe_add,
	.seal = universe_seal,
	.open = universe_open,
	.enter = universe_enter,
	.leave = universe_leave,
	.pause = universe_pause,
	.asleep = universe_asleep,
};
EXPORT_SYMBOL_GPL(test_universe_calls);
