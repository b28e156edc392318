// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Replaces test_value() by a function that returns 100 and the last digit of the module's name. The modules
 * test_value_1, _2 and _3 are this file; so are test_room_1 and _2, for that of test_room.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

#ifndef TEST_OBJECT
#define TEST_OBJECT "test_target"
#endif

#define VALUE (100 + KBUILD_MODNAME[sizeof(KBUILD_MODNAME) - 2] - '0')

static int new_value(void)
{
	return VALUE;
}

static struct klp_func funcs[] = {
	{ .old_name = "test_value", .new_func = new_value },
	{ }
};

static struct klp_object objects[] = {
	{ .name = TEST_OBJECT, .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

module_param_named(replace, patch.replace, bool, 0400);

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
MODULE_DESCRIPTION("Live patch conformance: test_value");
MODULE_INFO(livepatch, "Y");
