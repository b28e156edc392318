// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replaces the functions with all kinds of arguments and results. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/stdarg.h>

#include <test.h>

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
	TEST_CLOBBER();
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
