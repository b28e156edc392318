// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Many functions of several objects, one of which is never loaded; its callbacks tell the log. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int new_value(void)
{
	return 201;
}

static int new_second(void)
{
	return 202;
}

static int new_twin(void)
{
	return 210;
}

static int new_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "cmdline by test_many\n");
	return 0;
}

static int new_version_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "version by test_many\n");
	return 0;
}

static const char *object_name(const struct klp_object *obj)
{
	return obj->name ? obj->name : "vmlinux";
}

static int pre_patch(struct klp_object *obj)
{
	pr_info("pre_patch %s\n", object_name(obj));
	return 0;
}

static void post_patch(struct klp_object *obj)
{
	pr_info("post_patch %s\n", object_name(obj));
}

static void pre_unpatch(struct klp_object *obj)
{
	pr_info("pre_unpatch %s\n", object_name(obj));
}

static void post_unpatch(struct klp_object *obj)
{
	pr_info("post_unpatch %s\n", object_name(obj));
}

#define CALLBACKS {				\
	.pre_patch = pre_patch,			\
	.post_patch = post_patch,		\
	.pre_unpatch = pre_unpatch,		\
	.post_unpatch = post_unpatch,		\
}

static struct klp_func target_funcs[] = {
	{ .old_name = "test_value", .new_func = new_value },
	{ .old_name = "test_second", .new_func = new_second },
	{ .old_name = "test_twin", .new_func = new_twin, .old_sympos = 1 },
	{ .old_name = "test_twin", .new_func = new_twin, .old_sympos = 2 },
	{ }
};

static struct klp_func vmlinux_funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = new_cmdline_proc_show },
	{ .old_name = "version_proc_show", .new_func = new_version_proc_show },
	{ }
};

static struct klp_func absent_funcs[] = {
	{ .old_name = "test_absent", .new_func = new_value },
	{ }
};

static struct klp_object objects[] = {
	{ .name = NULL /* vmlinux */, .funcs = vmlinux_funcs, .callbacks = CALLBACKS },
	{ .name = "test_target", .funcs = target_funcs, .callbacks = CALLBACKS },
	{ .name = "test_never_loaded", .funcs = absent_funcs, .callbacks = CALLBACKS },
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
MODULE_DESCRIPTION("Live patch conformance: several objects");
MODULE_INFO(livepatch, "Y");
