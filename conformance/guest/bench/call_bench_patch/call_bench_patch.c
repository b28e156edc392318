// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replaces call_bench_target() with the same function. */
#include <linux/livepatch.h>
#include <linux/module.h>

static unsigned long patched_call_bench_target(unsigned long value)
{
	return value + 1;
}

static struct klp_func funcs[] = {
	{ .old_name = "call_bench_target", .new_func = patched_call_bench_target },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "call_bench", .funcs = funcs },
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
MODULE_DESCRIPTION("Benchmark: a patch that changes nothing");
