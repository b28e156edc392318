// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What walks cost. Under QEMU's -icount shift=0 a nanosecond of guest time is an instruction. On one CPU with interrupts
 * off no other task runs: all are held still.
 */
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "stacks.h"

#define WALKS 100

struct cost {
	struct seq_file *m;
	struct stacks_walk walk;
};

static void walk_ours(struct task_struct *task, struct stacks_walk *walk)
{
	stacks_walk_ours(task, walk);
}

/* Nanoseconds of one walk. */
static u64 time_walks(struct task_struct *task, struct stacks_walk *walk,
		      void (*once)(struct task_struct *task, struct stacks_walk *walk))
{
	unsigned long flags;
	u64 start, end;
	int i;

	local_irq_save(flags);
	once(task, walk);
	start = ktime_get_ns();
	for (i = 0; i < WALKS; i++)
		once(task, walk);
	end = ktime_get_ns();
	local_irq_restore(flags);
	return div_u64(end - start, WALKS);
}

static bool print_cost(struct stacks_parked *parked, void *context)
{
	struct cost *cost = context;
	u64 ours = time_walks(parked->task, &cost->walk, walk_ours);
	u64 kernel = time_walks(parked->task, &cost->walk, stacks_walk_kernel);

	if (cost->walk.result || cost->walk.kernel_result < 0)
		seq_puts(cost->m, "unreliable\n");
	else
		seq_printf(cost->m, "frames %u ours %llu kernel %llu\n", cost->walk.ours.count, ours, kernel);
	return true;
}

/* Each parked task: frames, and nanoseconds that a walk takes. */
int stacks_cost_show(struct seq_file *m, void *v)
{
	struct cost *cost = kzalloc(sizeof(*cost), GFP_KERNEL);

	if (!cost)
		return -ENOMEM;
	cost->m = m;
	stacks_for_each(print_cost, cost);
	kfree(cost);
	return 0;
}

struct all {
	struct stacks_walk walk;
	unsigned long tasks, frames, reliable, kernel_reliable;
};

static int hold_only(struct task_struct *task, void *data)
{
	return 0;
}

static int hold_ours(struct task_struct *task, void *data)
{
	struct all *all = data;

	all->reliable += !stacks_walk_ours(task, &all->walk);
	all->frames += all->walk.ours.count;
	return 0;
}

static int hold_kernel(struct task_struct *task, void *data)
{
	struct all *all = data;

	stacks_walk_kernel(task, &all->walk);
	all->kernel_reliable += all->walk.kernel_result >= 0;
	return 0;
}

static u64 time_all(struct all *all, int (*each)(struct task_struct *task, void *data))
{
	struct task_struct *process, *task;
	u64 start = ktime_get_ns();

	all->tasks = 0;
	rcu_read_lock();
	for_each_process_thread(process, task) {
		if (task == current)
			continue;
		all->tasks++;
		stacks_hold(task, each, all);
	}
	rcu_read_unlock();
	return ktime_get_ns() - start;
}

/* All tasks but the calling one, each held still on its own: nanoseconds for all, and of them for holding. */
int stacks_cost_all_show(struct seq_file *m, void *v)
{
	struct all *all = kzalloc(sizeof(*all), GFP_KERNEL);
	u64 hold, ours, kernel;

	if (!all)
		return -ENOMEM;
	hold = time_all(all, hold_only);
	ours = time_all(all, hold_ours);
	kernel = time_all(all, hold_kernel);
	seq_printf(m, "tasks %lu frames %lu reliable %lu kernel-reliable %lu hold %llu ours %llu kernel %llu\n",
		   all->tasks, all->frames, all->reliable, all->kernel_reliable, hold, ours, kernel);
	kfree(all);
	return 0;
}
