// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A function of another module, between two of test_stacks. */
#include <linux/module.h>

int test_stacks_far(int (*next)(void *data), void *data);

__attribute__((noipa)) int test_stacks_far(int (*next)(void *data), void *data)
{
	int result = next(data);

	asm volatile("" : "+r" (result));
	return result;
}
EXPORT_SYMBOL_GPL(test_stacks_far);

static int __init far_init(void)
{
	return 0;
}

static void __exit far_exit(void)
{
}

module_init(far_init);
module_exit(far_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: a function on the stacks of another module's threads");
