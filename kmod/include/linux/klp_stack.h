/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Reliable stack walks for other modules: what klp.ko sees of a task. */
#ifndef _LINUX_KLP_STACK_H
#define _LINUX_KLP_STACK_H

#include <linux/types.h>

struct task_struct;

/* How a frame was found. */
enum klp_stack_found {
	KLP_STACK_START,	/* the task was switched out here */
	KLP_STACK_CHAIN,	/* by the callee's frame record, frame pointer or back chain */
	KLP_STACK_TABLE,	/* by the unwind table's entry for the callee */
	KLP_STACK_REGISTERS,	/* in the register block that an exception left */
	KLP_STACK_GRAPH,	/* the function-graph tracer kept the callee's return address */
	KLP_STACK_PROBE,	/* a return probe kept it */
	KLP_STACK_PATCH,	/* klp.ko's return stub kept it */
};

/* One function that the task may return to; `pc` is a return address unless `exact`. Zero: in the context switch. */
struct klp_stack_frame {
	u64 pc, sp;
	u32 found, exact;
};

/*
 * A walk. In: `frames`, room for `size` of them. Out: `count`; where the walk is unreliable `reason`, in one word, and the
 * address that goes with it; NULL where it is reliable.
 */
struct klp_stack {
	struct klp_stack_frame *frames;
	u32 size, count;
	const char *reason;
	u64 addr;
};

/*
 * Walks the stack of a task that the caller keeps from running: with the machine stopped, or from task_call_func(). Takes
 * no lock, allocates nothing; callable with interrupts off and in NMI.
 *
 * 0: reliable. -EINVAL: unreliable, `reason` says why. -ENOSPC: more than `size` frames.
 */
int klp_sdk_walk_stack(struct task_struct *task, struct klp_stack *stack);

#endif
