// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replaces the functions with all kinds of arguments and results. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/stdarg.h>

#include "args.h"

#define FUNCTION(n)					\
static u64 new_args_##n(TEST_P##n)			\
{							\
	return TEST_M##n(TEST_SALT_NEW);		\
}
TEST_EACH_COUNT(FUNCTION)

static u64 new_args_struct(struct test_three s, int a, struct test_three t, u64 b, u64 c, u64 d, u64 e,
			   struct test_three u)
{
	u64 sum = test_mix_three(TEST_SALT_NEW, &s);

	sum = test_mix_three(TEST_MIX(sum, a), &t);
	sum = TEST_MIX(TEST_MIX(TEST_MIX(TEST_MIX(sum, b), c), d), e);
	return test_mix_three(sum, &u);
}

static struct test_two new_args_two(u64 a, u64 b)
{
	return (struct test_two){ TEST_MIX(TEST_SALT_NEW, a), TEST_MIX(TEST_SALT_NEW, b) };
}

static struct test_five new_args_five(u64 a, u64 b, u64 c)
{
	return (struct test_five){ { TEST_SALT_NEW, a, b, c, TEST_MIX(a, b) } };
}

static u64 new_args_variadic(int count, ...)
{
	u64 sum = TEST_SALT_NEW;
	va_list list;

	va_start(list, count);
	while (count--)
		sum = TEST_MIX(sum, va_arg(list, u64));
	va_end(list);
	return sum;
}

/* Uses every register that a function may use, and returns as the original would, and one thousand. */
static u64 new_leaf(u64 value)
{
#if defined(CONFIG_X86_64)
	asm volatile("mov $-1, %%rcx; mov %%rcx, %%rdx; mov %%rcx, %%rsi; mov %%rcx, %%r8; mov %%rcx, %%r9;"
		     "mov %%rcx, %%r10; mov %%rcx, %%r11" : : : "cx", "dx", "si", "r8", "r9", "r10", "r11");
#elif defined(CONFIG_ARM64)
	asm volatile("mov x1, -1; mov x2, x1; mov x3, x1; mov x4, x1; mov x5, x1; mov x6, x1; mov x7, x1; mov x8, x1;"
		     "mov x9, x1; mov x10, x1; mov x11, x1; mov x12, x1; mov x13, x1; mov x14, x1; mov x15, x1;"
		     "mov x16, x1; mov x17, x1"
		     : : : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
		     "x15", "x16", "x17");
#elif defined(CONFIG_PPC64)
	asm volatile("li 4, -1; mr 5, 4; mr 6, 4; mr 7, 4; mr 8, 4; mr 9, 4; mr 10, 4; mr 11, 4; mr 12, 4; mr 0, 4;"
		     "mtctr 4"
		     : : : "r0", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "ctr");
#elif defined(CONFIG_RISCV)
	asm volatile("li a1, -1; mv a2, a1; mv a3, a1; mv a4, a1; mv a5, a1; mv a6, a1; mv a7, a1;"
		     "mv t0, a1; mv t1, a1; mv t2, a1; mv t3, a1; mv t4, a1; mv t5, a1; mv t6, a1"
		     : : : "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6");
#elif defined(CONFIG_S390)
	asm volatile("lghi 0, -1; lgr 1, 0; lgr 3, 0; lgr 4, 0; lgr 5, 0" : : : "0", "1", "3", "4", "5");
#endif
	return value + 1001;
}

#define FUNC(n) { .old_name = "test_args_" #n, .new_func = new_args_##n },

static struct klp_func funcs[] = {
	TEST_EACH_COUNT(FUNC)
	FUNC(struct)
	FUNC(two)
	FUNC(five)
	FUNC(variadic)
	{ .old_name = "test_leaf", .new_func = new_leaf },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "test_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: arguments and results");
MODULE_INFO(livepatch, "Y");
