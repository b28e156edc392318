// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replacements that call: the patched function, the original, other functions; and one that sleeps. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/wait.h>

#include "args.h"

/* In funcs[] below. */
enum { RECURSE, EVEN, ODD };
static struct klp_func funcs[];

/* What everybody calls: the address of the patched function. */
static u64 call_patched(int func, unsigned int depth)
{
	u64 (*patched)(unsigned int) = funcs[func].old_func;

	return patched(depth);
}

static u64 new_recurse(unsigned int depth)
{
	return (depth ? call_patched(RECURSE, depth - 1) : 0) + depth + 1000;
}

static u64 new_even(unsigned int depth)
{
	return (depth ? call_patched(ODD, depth - 1) : 0) + 200;
}

static u64 new_odd(unsigned int depth)
{
	return (depth ? call_patched(EVEN, depth - 1) : 0) + 100;
}

KLP_ORIGINAL(u64, test_deep, (unsigned int depth), (depth));

/* The original calls test_deep again, which is again replaced. */
static u64 new_deep(unsigned int depth)
{
	return klp_original_test_deep(depth) + 1000;
}

KLP_ORIGINAL(u64, test_wide, (TEST_P12), (TEST_A12));

static u64 new_wide(TEST_P12)
{
	return klp_original_test_wide(TEST_A12) + 7;
}

int test_helper(int value);

/* Calls the kernel, klp.ko and a third module; 42 if each did what it should. */
static int new_calls(void)
{
	char *text = kasprintf(GFP_KERNEL, "%d %s %c %lx %llu %d %d %d %d", 1, "two", '3', 4UL, 5ULL, 6, 7, 8, 9);
	int (*helper)(int);
	int result;

	if (!text)
		return -ENOMEM;
	result = strcmp(text, "1 two 3 4 5 6 7 8 9");
	kfree(text);
	if (result)
		return -1;
	if (klp_enable_patch(NULL) != -EINVAL)
		return -2;
	helper = symbol_get(test_helper);
	if (!helper)
		return -3;
	result = helper(21);
	symbol_put(test_helper);
	return result;
}

static DECLARE_WAIT_QUEUE_HEAD(sleepers);
static bool released;
static atomic_t sleeping = ATOMIC_INIT(0);

static int new_wait(void)
{
	int interrupted;

	atomic_inc(&sleeping);
	interrupted = wait_event_interruptible(sleepers, READ_ONCE(released));
	atomic_dec(&sleeping);
	return interrupted ? -EINTR : 2;
}

/* How many sleep in new_wait(); writing wakes them. */
static int sleepers_get(char *buffer, const struct kernel_param *param)
{
	return sprintf(buffer, "%d\n", atomic_read(&sleeping));
}

static int sleepers_set(const char *text, const struct kernel_param *param)
{
	WRITE_ONCE(released, true);
	wake_up_all(&sleepers);
	return 0;
}

static const struct kernel_param_ops sleepers_ops = { .get = sleepers_get, .set = sleepers_set };
module_param_cb(sleepers, &sleepers_ops, NULL, 0600);

KLP_ORIGINAL(int, cmdline_proc_show, (struct seq_file *m, void *v), (m, v));

static int new_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "before ");
	return klp_original_cmdline_proc_show(m, v);
}

static struct klp_func funcs[] = {
	[RECURSE] = { .old_name = "test_recurse", .new_func = new_recurse },
	[EVEN] = { .old_name = "test_even", .new_func = new_even },
	[ODD] = { .old_name = "test_odd", .new_func = new_odd },
	{ .old_name = "test_deep", .new_func = new_deep, .original = &KLP_ORIGINAL_OF(test_deep) },
	{ .old_name = "test_wide", .new_func = new_wide, .original = &KLP_ORIGINAL_OF(test_wide) },
	{ .old_name = "test_calls", .new_func = new_calls },
	{ .old_name = "test_wait", .new_func = new_wait },
	{ }
};

static struct klp_func vmlinux_funcs[] = {
	{
		.old_name = "cmdline_proc_show",
		.new_func = new_cmdline_proc_show,
		.original = &KLP_ORIGINAL_OF(cmdline_proc_show),
	},
	{ }
};

static struct klp_object objects[] = {
	{ .name = "test_target", .funcs = funcs },
	{ .name = NULL /* vmlinux */, .funcs = vmlinux_funcs },
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
MODULE_DESCRIPTION("Live patch conformance: replacements that call on");
MODULE_INFO(livepatch, "Y");
