// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A function with room for a slot and a site of ftrace's, if its Kbuild file says so. */
#include <linux/module.h>

static __attribute__((noipa)) int test_value(void)
{
	return 1;
}

static int value_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%d\n", test_value());
}

static const struct kernel_param_ops value_ops = { .get = value_get };
module_param_cb(value, &value_ops, NULL, 0400);

static int __init both_init(void)
{
	return 0;
}

static void __exit both_exit(void)
{
}

module_init(both_init);
module_exit(both_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: a function with a slot and a site");
