// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A patch with callbacks and system states: which, and in which consistency model, its parameters say. The modules
 * test_api_1, _2 and _3 are this file. test_value() then returns 300 and the last digit of the module's name, test_wait()
 * a hundred more.
 *
 * Each callback logs the object, and for the states 1 to 3 the version that this patch declares and the version that the patches
 * before it left: "pre_patch vmlinux 1=2/1 2=-/- 3=-/- keeps test_api_1". What it keeps with the state 1 is the name of the patch
 * that changed it first, in a shadow variable, handed on as Documentation/livepatch/system-state.rst, "Expected usage", says.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/string.h>

#define DIGIT (KBUILD_MODNAME[sizeof(KBUILD_MODNAME) - 2] - '0')
#define STATES 3
/* The shadow variable. */
#define NAME 0xa91

static int new_value(void)
{
	return 300 + DIGIT;
}

static int new_wait(void)
{
	return 400 + DIGIT;
}

static unsigned long ids[STATES];
static unsigned int id_count;
module_param_array(ids, ulong, &id_count, 0400);
static unsigned int versions[STATES];
static unsigned int version_count;
module_param_array(versions, uint, &version_count, 0400);
/* What pre_patch for the second object answers. */
static int refuse;
module_param(refuse, int, 0400);

static struct klp_state states[STATES + 1];
static struct klp_patch patch;

module_param_named(replace, patch.replace, bool, 0400);
module_param_named(flags, patch.flags, uint, 0400);

static const char *place(const struct klp_object *obj)
{
	if (!obj->name)
		return obj->mod ? " which has a module" : "";
	if (!obj->mod)
		return " without its module";
	if (strcmp(obj->mod->name, obj->name))
		return " with another module";
	switch (obj->mod->state) {
	case MODULE_STATE_COMING:
		return " coming";
	case MODULE_STATE_GOING:
		return " going";
	default:
		return " live";
	}
}

static int version(char *text, size_t size, const struct klp_state *state)
{
	return state ? scnprintf(text, size, "%u", state->version) : scnprintf(text, size, "-");
}

/* `transition`: whether a patch is in transition, so that there can be states before it. */
static void show(const char *callback, const struct klp_object *obj, bool transition)
{
	const struct klp_state *own = klp_get_state(&patch, 1);
	char text[64];
	unsigned long id;
	size_t at = 0;

	for (id = 1; id <= STATES; id++) {
		at += scnprintf(text + at, sizeof(text) - at, " %lu=", id);
		at += version(text + at, sizeof(text) - at, klp_get_state(&patch, id));
		if (transition) {
			at += scnprintf(text + at, sizeof(text) - at, "/");
			at += version(text + at, sizeof(text) - at, klp_get_prev_state(id));
		}
	}
	pr_info("%s: %s %s%s%s keeps %s\n", KBUILD_MODNAME, callback, obj->name ?: "vmlinux", place(obj), text,
		own && own->data ? (char *)own->data : "nothing");
}

static int set_name(void *obj, void *data, void *name)
{
	strscpy(data, name, sizeof(KBUILD_MODNAME));
	return 0;
}

static int pre_patch(struct klp_object *obj)
{
	struct klp_state *own = klp_get_state(&patch, 1);

	if (own && !klp_get_prev_state(1)) {
		own->data = klp_shadow_alloc(NULL, NAME, sizeof(KBUILD_MODNAME), GFP_KERNEL, set_name,
					     KBUILD_MODNAME);
		if (!own->data)
			return -ENOMEM;
	}
	show("pre_patch", obj, true);
	return 0;
}

static void post_patch(struct klp_object *obj)
{
	struct klp_state *own = klp_get_state(&patch, 1), *previous = klp_get_prev_state(1);

	if (own && previous)
		own->data = previous->data;
	show("post_patch", obj, true);
}

static void pre_unpatch(struct klp_object *obj)
{
	show("pre_unpatch", obj, true);
}

static void post_unpatch(struct klp_object *obj)
{
	struct klp_state *own = klp_get_state(&patch, 1);

	show("post_unpatch", obj, true);
	if (own && !klp_get_prev_state(1))
		klp_shadow_free(NULL, NAME, NULL);
}

/* Of the module: it may come or go when no patch is in transition. */
static int pre_patch_target(struct klp_object *obj)
{
	show("pre_patch", obj, false);
	return refuse;
}

static void post_patch_target(struct klp_object *obj)
{
	show("post_patch", obj, false);
}

static void pre_unpatch_target(struct klp_object *obj)
{
	show("pre_unpatch", obj, false);
}

static void post_unpatch_target(struct klp_object *obj)
{
	show("post_unpatch", obj, false);
}

static struct klp_func funcs[] = {
	{ .old_name = "test_value", .new_func = new_value },
	{ .old_name = "test_wait", .new_func = new_wait },
	{ }
};

/* Callbacks without functions. */
static struct klp_func no_funcs[] = { { } };

static struct klp_object objects[] = {
	{
		.name = NULL /* vmlinux */,
		.funcs = no_funcs,
		.callbacks = { pre_patch, post_patch, pre_unpatch, post_unpatch },
	},
	{
		.name = "test_target",
		.funcs = funcs,
		.callbacks = { pre_patch_target, post_patch_target, pre_unpatch_target, post_unpatch_target },
	},
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .states = states };

/* Asks for what was before, when nothing is in transition. The kernel's klp_get_prev_state() warns, once. */
static int ask(const char *text, const struct kernel_param *param)
{
	pr_info("%s: outside of a transition: %s\n", KBUILD_MODNAME, klp_get_prev_state(1) ? "found" : "nothing");
	return 0;
}

static const struct kernel_param_ops ask_ops = { .set = ask };
module_param_cb(ask, &ask_ops, NULL, 0200);

static int __init patch_init(void)
{
	unsigned int i;

	if (id_count != version_count)
		return -EDOM;
	for (i = 0; i < id_count; i++) {
		states[i].id = ids[i];
		states[i].version = versions[i];
	}
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: system states, callbacks, flags");
MODULE_INFO(livepatch, "Y");
