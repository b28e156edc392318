// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A stack that is broken while its task sleeps: a return address that is none. */
#include <linux/moduleparam.h>
#include <linux/sched/task_stack.h>

#include "stacks.h"

/* What is written in place of the return address; 0: where the task is. */
static unsigned long spoil_with;
module_param(spoil_with, ulong, 0600);

/* What the words were. */
#define MAX_SPOILED 16
static struct {
	u64 *word, was;
} spoiled[MAX_SPOILED];
static unsigned int spoiled_count;

static int spoil_held(struct task_struct *task, void *data)
{
	struct stacks_walk *walk = data;
	u64 *word = task_stack_page(task), *end = word + THREAD_SIZE / sizeof(*word);
	u64 pc, sp;

	if (stacks_walk_ours(task, walk) || walk->ours.count < 4)
		return -EINVAL;
	/* What the function returns to that called schedule(): wherever it lies above the stack pointer. */
	pc = walk->frames[walk->ours.count - 3].pc;
	sp = walk->frames[0].sp;
	for (; word < end && spoiled_count < MAX_SPOILED; word++) {
		/* Return addresses may be signed. */
		if ((u64)word < sp || ((*word ^ pc) & GENMASK_ULL(46, 0)))
			continue;
		spoiled[spoiled_count].word = word;
		spoiled[spoiled_count++].was = *word;
		*word = spoil_with ?: (u64)task;
	}
	return spoiled_count ? 0 : -ENOENT;
}

static int repair_held(struct task_struct *task, void *data)
{
	while (spoiled_count) {
		spoiled_count--;
		*spoiled[spoiled_count].word = spoiled[spoiled_count].was;
	}
	return 0;
}

/* The first call breaks the stack of a task that sleeps, the next mends it. */
int stacks_spoil(struct task_struct *task, struct stacks_walk *walk)
{
	return stacks_hold(task, spoiled_count ? repair_held : spoil_held, walk);
}
