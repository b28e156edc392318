/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the target and its patches share. A universe is what kGraft calls so: the functions as they are in the target, 0, or as
 * patch N has them, 1 to 3. Each function that may be patched tells which universe it belongs to by what it does.
 */
#ifndef TEST_UNIVERSE_H
#define TEST_UNIVERSE_H

#include <linux/compiler.h>
#include <linux/types.h>

#define UNIVERSES 4

/* A function that callers call as if it were in another file: it keeps its frame, and its name. */
#define UNIVERSE_FUNC __attribute__((noipa))

/*
 * All calls go through this, so that a replacement calls what anybody calls: the target's functions, redirected or not. A patch
 * gets it with symbol_get(): it is not built with the target's symbols.
 */
struct universe_calls {
	/* Functions that may be patched, see calls.c. */
	int (*which)(void);
	int (*add)(int value);
	u64 (*seal)(u64 value);
	u64 (*open)(u64 sealed);
	/* Never patched. */
	void (*enter)(int universe);
	void (*leave)(int universe);
	void (*pause)(void);
	int (*asleep)(unsigned int state);
};
extern const struct universe_calls test_universe_calls;

/* The example of reference/2014-consistency-models.txt: ten times 1, or ten times 2 (or 3, or 4). */
static __always_inline int universe_do_ten(const struct universe_calls *calls)
{
	int universe = calls->which();
	int i, sum = 0;

	calls->enter(universe);
	for (i = 0; i < 10; i++) {
		sum = calls->add(sum);
		if (i == 4)
			calls->pause();
	}
	calls->leave(universe);
	return sum;
}

static __always_inline int universe_do_add(int universe, int value)
{
	return value + universe + 1;
}

/*
 * Two functions that change together: what one has sealed the other can open only if it is of the same universe. Gives that
 * universe, or -1.
 */
static __always_inline int universe_do_pair(const struct universe_calls *calls, u64 value)
{
	int universe = calls->which();
	u64 sealed, opened;

	calls->enter(universe);
	sealed = calls->seal(value);
	calls->pause();
	opened = calls->open(sealed);
	calls->leave(universe);
	return opened == value ? universe : -1;
}

static __always_inline u64 universe_do_seal(int universe, u64 value)
{
	return value ^ (universe + 1) * 0x9e3779b97f4a7c15ULL;
}

/* Functions that tasks are asleep in: until all are released, or, in `state` TASK_INTERRUPTIBLE, until a signal. */
static __always_inline int universe_do_sleep(const struct universe_calls *calls, int universe, unsigned int state)
{
	int result = calls->asleep(state);

	/* Not as a jump, which would leave no frame. */
	asm volatile("" : "+r" (result));
	return result ?: universe;
}

#endif /* TEST_UNIVERSE_H */
