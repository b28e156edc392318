// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The module whose functions are patched, and /proc/test_target: a file for each, whose reader calls it. */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/proc_fs.h>

#include "target.h"

TEST_FUNC int test_value(void)
{
	return 1;
}

TEST_FUNC int test_second(void)
{
	return 2;
}

TEST_FUNC notrace int test_untraced(void)
{
	return 3;
}

/* The original's result, or that of the patches test_value_1, _2, _3. */
bool test_value_is_known(int value)
{
	return value == 1 || (value >= 101 && value <= 103);
}

static int value_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", test_value());
	return 0;
}

/* The first bytes of test_value(). */
static int code_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%16ph\n", (const void *)test_value);
	return 0;
}

static int second_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", test_second());
	return 0;
}

static int untraced_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", test_untraced());
	return 0;
}

static int twins_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d %d\n", test_twin_a(), test_twin_b());
	return 0;
}

static const struct {
	const char *name;
	int (*show)(struct seq_file *m, void *v);
} files[] = {
	{ "value", value_show },
	{ "code", code_show },
	{ "second", second_show },
	{ "untraced", untraced_show },
	{ "twins", twins_show },
	{ "args", args_show },
	{ "leaf", leaf_show },
	{ "saved", saved_show },
	{ "recurse", recurse_show },
	{ "mutual", mutual_show },
	{ "deep", deep_show },
	{ "wide", wide_show },
	{ "calls", calls_show },
	{ "wait", wait_show },
	{ "contexts", contexts_show },
	{ "nmi", nmi_show },
	{ "stress", stress_show },
};

/* What test_value() said to this module's own init function: a patch must be in place by then. */
/* Whether the init function waits, and may go on. */
static bool init_waits;
module_param(init_waits, bool, 0400);
static bool init_goes;
module_param(init_goes, bool, 0600);

static int value_at_init;
module_param(value_at_init, int, 0400);

/* Not of the section that is freed after the init function: it can be patched. */
static noinline void test_init_wait(void)
{
	while (!READ_ONCE(init_goes))
		msleep(20);
}

static int __init target_init(void)
{
	struct proc_dir_entry *directory = proc_mkdir("test_target", NULL);
	size_t i;
	int ret;

	if (!directory)
		return -ENOMEM;
	if (init_waits)
		test_init_wait();
	value_at_init = test_value();
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		if (!proc_create_single(files[i].name, 0444, directory, files[i].show)) {
			remove_proc_subtree("test_target", NULL);
			return -ENOMEM;
		}
	}
	ret = test_contexts_init();
	if (ret)
		remove_proc_subtree("test_target", NULL);
	return ret;
}

static void __exit target_exit(void)
{
	test_stress_stop();
	test_contexts_exit();
	remove_proc_subtree("test_target", NULL);
}

module_init(target_init);
module_exit(target_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: functions to be patched");
