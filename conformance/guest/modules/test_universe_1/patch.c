// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Puts functions of test_universe into another universe, whose number is the last digit of the module's name; test_universe_1,
 * _2 and _3 are this file. Parameters:
 *
 *	functions	which functions of it: "which", "add", "ten", ...
 *	flags		the consistency model
 *	replace		a cumulative patch
 *	value		test_value() of test_target too, which need not be loaded: it gives 100 and the number
 *	refuse		the callback before that object is patched refuses
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "universe.h"

#define UNIVERSE (KBUILD_MODNAME[sizeof(KBUILD_MODNAME) - 2] - '0')

int new_universe_which(void);
int new_universe_add(int value);
int new_universe_ten(void);
u64 new_universe_seal(u64 value);
u64 new_universe_open(u64 sealed);
int new_universe_pair(u64 value);
int new_universe_sleep(void);
int new_universe_nap(void);

static const struct universe_calls *calls;

UNIVERSE_FUNC int new_universe_which(void)
{
	return UNIVERSE;
}

UNIVERSE_FUNC int new_universe_add(int value)
{
	return universe_do_add(UNIVERSE, value);
}

UNIVERSE_FUNC int new_universe_ten(void)
{
	return universe_do_ten(calls);
}

UNIVERSE_FUNC u64 new_universe_seal(u64 value)
{
	return universe_do_seal(UNIVERSE, value);
}

UNIVERSE_FUNC u64 new_universe_open(u64 sealed)
{
	return universe_do_seal(UNIVERSE, sealed);
}

UNIVERSE_FUNC int new_universe_pair(u64 value)
{
	return universe_do_pair(calls, value);
}

UNIVERSE_FUNC int new_universe_sleep(void)
{
	return universe_do_sleep(calls, UNIVERSE, TASK_KILLABLE);
}

UNIVERSE_FUNC int new_universe_nap(void)
{
	return universe_do_sleep(calls, UNIVERSE, TASK_INTERRUPTIBLE);
}

static int new_value(void)
{
	return 100 + UNIVERSE;
}

#define FUNC(name) { .old_name = "universe_" #name, .new_func = new_universe_##name }

static const struct klp_func all[] = {
	FUNC(which), FUNC(add), FUNC(ten), FUNC(seal), FUNC(open), FUNC(pair), FUNC(sleep), FUNC(nap),
};

static char *functions[ARRAY_SIZE(all)];
static int function_count;
module_param_array(functions, charp, &function_count, 0400);

static bool value;
module_param(value, bool, 0400);
static bool refuse;
module_param(refuse, bool, 0400);

static const char *name_of(const struct klp_object *object)
{
	return object->name ? object->name : "vmlinux";
}

static int pre_patch(struct klp_object *object)
{
	pr_info("pre_patch %s\n", name_of(object));
	return refuse && !strcmp(name_of(object), "test_target") ? -EPERM : 0;
}

static void post_patch(struct klp_object *object)
{
	pr_info("post_patch %s\n", name_of(object));
}

static void pre_unpatch(struct klp_object *object)
{
	pr_info("pre_unpatch %s\n", name_of(object));
}

static void post_unpatch(struct klp_object *object)
{
	pr_info("post_unpatch %s\n", name_of(object));
}

#define CALLBACKS {				\
	.pre_patch = pre_patch,			\
	.post_patch = post_patch,		\
	.pre_unpatch = pre_unpatch,		\
	.post_unpatch = post_unpatch,		\
}

/* Filled in by the parameters. */
static struct klp_func funcs[ARRAY_SIZE(all) + 1];

static struct klp_func value_funcs[] = {
	{ .old_name = "test_value", .new_func = new_value },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "test_universe", .funcs = funcs, .callbacks = CALLBACKS },
	{ .name = "test_target", .funcs = value_funcs, .callbacks = CALLBACKS },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

module_param_named(replace, patch.replace, bool, 0400);
module_param_named(flags, patch.flags, uint, 0400);

static int choose(void)
{
	int i, j;

	for (i = 0; i < function_count; i++) {
		for (j = 0; strcmp(functions[i], all[j].old_name + strlen("universe_"));)
			if (++j == ARRAY_SIZE(all))
				return -EDOM;
		funcs[i] = all[j];
	}
	if (!value)
		objects[1] = objects[2];
	return 0;
}

static int __init patch_init(void)
{
	int ret = choose();

	if (ret)
		return ret;
	calls = symbol_get(test_universe_calls);
	if (!calls)
		return -ENOENT;
	ret = klp_enable_patch(&patch);
	if (ret)
		symbol_put(test_universe_calls);
	return ret;
}

static void __exit patch_exit(void)
{
	symbol_put(test_universe_calls);
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: another universe");
MODULE_INFO(livepatch, "Y");
