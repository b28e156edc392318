// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replaces two functions of transition_bench, and tells it when. */
#include <linux/livepatch.h>
#include <linux/module.h>

#include "bench.h"

static unsigned long patched_transition_bench_target(unsigned long value)
{
	return value + 2;
}

static int patched_transition_bench_hold(void)
{
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "transition_bench_target", .new_func = patched_transition_bench_target },
	{ .old_name = "transition_bench_hold", .new_func = patched_transition_bench_hold },
	{ }
};

/* The module that is patched need not be there when this one is linked. */
static void (*begin)(void), (*end)(void);

static void complete_transition(struct klp_object *object)
{
	end();
}

static struct klp_object objects[] = {
	{
		.name = "transition_bench",
		.funcs = funcs,
		.callbacks = { .post_patch = complete_transition, .post_unpatch = complete_transition },
	},
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init patch_init(void)
{
	int ret = -ENOENT;

	begin = symbol_get(transition_bench_begin);
	end = symbol_get(transition_bench_end);
	if (begin && end) {
		begin();
		ret = klp_enable_patch(&patch);
	}
	if (ret && begin)
		symbol_put(transition_bench_begin);
	if (ret && end)
		symbol_put(transition_bench_end);
	return ret;
}

static void __exit patch_exit(void)
{
	symbol_put(transition_bench_begin);
	symbol_put(transition_bench_end);
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Benchmark: a patch that is timed");
