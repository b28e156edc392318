// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A patch of test_value() for the kernel's own livepatch; on a kernel without one, a module that does not load. */
#include <linux/module.h>

#ifdef CONFIG_LIVEPATCH
#include <linux/livepatch.h>

static int new_value(void)
{
	return 301;
}

static struct klp_func funcs[] = {
	{ .old_name = "test_value", .new_func = new_value },
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

MODULE_INFO(livepatch, "Y");
#else
static int __init patch_init(void)
{
	return -EOPNOTSUPP;
}
#endif

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: the kernel's own livepatch");
