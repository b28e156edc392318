// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patches that must be refused, one for each value of the parameter "what"; and a few that must not. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/string.h>

static int new_func(void)
{
	return 99;
}

static int refuse(struct klp_object *obj)
{
	return -EPERM;
}

#define FUNCS(array, ...) static struct klp_func array[] = { __VA_ARGS__, { } }
#define OBJECT(array, object, func_array) \
	static struct klp_object array[] = { { .name = object, .funcs = func_array }, { } }

#define VALUE { .old_name = "test_value", .new_func = new_func }

FUNCS(value_funcs, VALUE);
OBJECT(value, "test_target", value_funcs);

static struct klp_object no_objects[] = { { } };

static struct klp_object null_funcs[] = { { .name = "test_target", .funcs = NULL }, { } };

/* Behind functions that could be patched: those must not stay patched. */
FUNCS(null_new_func_funcs, VALUE, { .old_name = "test_second" });
OBJECT(null_new_func, "test_target", null_new_func_funcs);

FUNCS(duplicate_funcs, VALUE, { .old_name = "test_second", .new_func = new_func }, VALUE);
OBJECT(duplicate, "test_target", duplicate_funcs);

static struct klp_object duplicate_object[] = {
	{ .name = "test_target", .funcs = value_funcs },
	{ .name = "test_target", .funcs = value_funcs },
	{ }
};

FUNCS(absent_funcs, VALUE, { .old_name = "test_absent", .new_func = new_func });
OBJECT(absent, "test_target", absent_funcs);

FUNCS(absent_in_vmlinux_funcs, { .old_name = "test_value", .new_func = new_func });
OBJECT(absent_in_vmlinux, NULL, absent_in_vmlinux_funcs);

FUNCS(ambiguous_funcs, VALUE, { .old_name = "test_twin", .new_func = new_func });
OBJECT(ambiguous, "test_target", ambiguous_funcs);

FUNCS(position_funcs, VALUE, { .old_name = "test_twin", .new_func = new_func, .old_sympos = 3 });
OBJECT(position, "test_target", position_funcs);

FUNCS(untraced_funcs, VALUE, { .old_name = "test_untraced", .new_func = new_func });
OBJECT(untraced, "test_target", untraced_funcs);

/* The second object's callback refuses: the first must not stay patched. */
FUNCS(cmdline_funcs, { .old_name = "cmdline_proc_show", .new_func = new_func });
static struct klp_object callback[] = {
	{ .name = NULL /* vmlinux */, .funcs = cmdline_funcs },
	{ .name = "test_target", .funcs = value_funcs, .callbacks = { .pre_patch = refuse } },
	{ }
};

FUNCS(twin_1_funcs, { .old_name = "test_twin", .new_func = new_func, .old_sympos = 1 });
OBJECT(twin_1, "test_target", twin_1_funcs);

FUNCS(twin_2_funcs, { .old_name = "test_twin", .new_func = new_func, .old_sympos = 2 });
OBJECT(twin_2, "test_target", twin_2_funcs);

/* A function of vmlinux that the parameters name. */
static struct klp_func named_funcs[] = { { .new_func = new_func }, { } };
OBJECT(named, NULL, named_funcs);

static const struct {
	const char *what;
	struct klp_object *objects;
	bool no_module;
} patches[] = {
	{ "null-objects", NULL },
	{ "no-objects", no_objects },
	{ "null-funcs", null_funcs },
	{ "null-new-func", null_new_func },
	{ "null-module", value, .no_module = true },
	{ "duplicate", duplicate },
	{ "duplicate-object", duplicate_object },
	{ "absent", absent },
	{ "absent-in-vmlinux", absent_in_vmlinux },
	{ "ambiguous", ambiguous },
	{ "position", position },
	{ "untraced", untraced },
	{ "callback", callback },
	{ "named", named },
	/* These are right. */
	{ "twin-1", twin_1 },
	{ "twin-2", twin_2 },
};

static char *what = "";
module_param(what, charp, 0400);

static char *symbol = "";
module_param(symbol, charp, 0400);
static unsigned long position_of_symbol;
module_param_named(position, position_of_symbol, ulong, 0400);

static struct klp_patch patch;

static int __init patch_init(void)
{
	size_t i;

	named_funcs[0].old_name = symbol;
	named_funcs[0].old_sympos = position_of_symbol;
	for (i = 0; i < ARRAY_SIZE(patches); i++) {
		if (strcmp(what, patches[i].what))
			continue;
		patch.objs = patches[i].objects;
		patch.mod = patches[i].no_module ? NULL : THIS_MODULE;
		return klp_enable_patch(&patch);
	}
	/* No refusal of a patch has this number. */
	return -EDOM;
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: refusals");
MODULE_INFO(livepatch, "Y");
