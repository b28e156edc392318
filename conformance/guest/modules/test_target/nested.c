// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Functions that call each other, and functions whose replacements call on. */
#include <linux/kernel.h>
#include <linux/module.h>

#include "args.h"
#include "target.h"

u64 test_recurse(unsigned int depth);
u64 test_even(unsigned int depth);
u64 test_odd(unsigned int depth);
u64 test_deep(unsigned int depth);
u64 test_wide(TEST_P12);
int test_calls(void);
int test_wait(void);
int test_helper(int value);

/* The empty asm behind a call keeps it from becoming a jump. */
TEST_FUNC u64 test_recurse(unsigned int depth)
{
	u64 below = depth ? test_recurse(depth - 1) : 0;

	asm volatile("" : "+r" (below));
	return below + depth;
}

TEST_FUNC u64 test_even(unsigned int depth)
{
	u64 below = depth ? test_odd(depth - 1) : 0;

	asm volatile("" : "+r" (below));
	return below + 2;
}

TEST_FUNC u64 test_odd(unsigned int depth)
{
	u64 below = depth ? test_even(depth - 1) : 0;

	asm volatile("" : "+r" (below));
	return below + 1;
}

TEST_FUNC u64 test_deep(unsigned int depth)
{
	u64 below = depth ? test_deep(depth - 1) : 0;

	asm volatile("" : "+r" (below));
	return below + 1;
}

TEST_FUNC u64 test_wide(TEST_P12)
{
	return TEST_M12(TEST_SALT_OLD);
}

TEST_FUNC int test_calls(void)
{
	return 1;
}

TEST_FUNC int test_wait(void)
{
	return 1;
}

/* Called by a replacement in another module. */
TEST_FUNC int test_helper(int value)
{
	return value * 2;
}
EXPORT_SYMBOL_GPL(test_helper);

#define DEPTH 50

int recurse_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%llu\n", test_recurse(DEPTH));
	return 0;
}

int mutual_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%llu\n", test_even(DEPTH));
	return 0;
}

int deep_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%llu\n", test_deep(DEPTH));
	return 0;
}

/* What a replacement added to the original's result: 0 without one. */
int wide_show(struct seq_file *m, void *v)
{
	static char string[] = "h";
	int a = -1, k = -11;
	u64 b = 0x8000000000000002ULL, j = ~10ULL;
	void *c = &string;
	signed char d = -4;
	u16 e = 0xfffb;
	long f = -6;
	u32 g = 0xfffffff9;
	const char *h = string;
	s16 i = -9;
	bool l = true;

	seq_printf(m, "%lld\n", (s64)(test_wide(TEST_A12) - TEST_M12(TEST_SALT_OLD)));
	return 0;
}

int calls_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", test_calls());
	return 0;
}

int wait_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", test_wait());
	return 0;
}
