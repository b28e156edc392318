// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replaces a function by one that calls the original, and one by one that sleeps. */
#include <linux/livepatch.h>
#include <linux/module.h>

#include "stacks.h"

int new_stacks_middle(struct stacks_parked *parked);
int new_stacks_inner(struct stacks_parked *parked);

KLP_ORIGINAL(int, stacks_middle, (struct stacks_parked *parked), (parked));

STACKS_FUNC int new_stacks_middle(struct stacks_parked *parked)
{
	int result = klp_original_stacks_middle(parked);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

STACKS_FUNC int new_stacks_inner(struct stacks_parked *parked)
{
	stacks_sleep(parked);
	return 2;
}

static struct klp_func funcs[] = {
	{
		.old_name = "stacks_middle",
		.new_func = new_stacks_middle,
		.original = &KLP_ORIGINAL_OF(stacks_middle),
	},
	{ .old_name = "stacks_inner", .new_func = new_stacks_inner },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "test_stacks", .funcs = funcs },
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
MODULE_DESCRIPTION("Live patch conformance: replacements on the stacks of sleeping threads");
MODULE_INFO(livepatch, "Y");
