// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Threads that sleep at a known depth in known functions. */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "stacks.h"

int stacks_thread(void *data);
int stacks_outer(struct stacks_parked *parked);
int stacks_middle(struct stacks_parked *parked);
int stacks_inner(struct stacks_parked *parked);
int stacks_recurse(struct stacks_parked *parked, unsigned int depth);
int stacks_deep(struct stacks_parked *parked);
int stacks_across(struct stacks_parked *parked);
/* Another module's: calls back. */
int test_stacks_far(int (*next)(void *data), void *data);

static LIST_HEAD(all_parked);
static DEFINE_MUTEX(lock);

STACKS_FUNC int stacks_inner(struct stacks_parked *parked)
{
	stacks_sleep(parked);
	return 1;
}

STACKS_FUNC int stacks_middle(struct stacks_parked *parked)
{
	int result = stacks_inner(parked);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

STACKS_FUNC int stacks_outer(struct stacks_parked *parked)
{
	int result = stacks_middle(parked);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

STACKS_FUNC int stacks_recurse(struct stacks_parked *parked, unsigned int depth)
{
	int result = depth > 1 ? stacks_recurse(parked, depth - 1) : stacks_inner(parked);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

STACKS_FUNC int stacks_deep(struct stacks_parked *parked)
{
	int result = stacks_recurse(parked, parked->depth);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

static STACKS_FUNC int stacks_called_back(void *data)
{
	int result = stacks_inner(data);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

STACKS_FUNC int stacks_across(struct stacks_parked *parked)
{
	int (*far)(int (*next)(void *), void *) = symbol_get(test_stacks_far);
	int result;

	if (!far)
		return -ENOENT;
	result = far(stacks_called_back, parked);
	symbol_put(test_stacks_far);
	return result;
}

/* A function that is entered again and again: its first instruction is where most interrupts come. */
STACKS_FUNC void stacks_tiny(struct stacks_parked *parked)
{
	WRITE_ONCE(parked->depth, parked->depth + 1);
}

STACKS_FUNC int stacks_spin(struct stacks_parked *parked)
{
	WRITE_ONCE(parked->arrived, true);
	while (!READ_ONCE(parked->released)) {
		stacks_tiny(parked);
		/* Where the kernel does not preempt its own code, others on this CPU would never run. */
		cond_resched();
#ifdef CONFIG_TASKS_RCU
		/* Tracers wait until every preempted task has said that it is in none of their trampolines. */
		WRITE_ONCE(current->rcu_tasks_holdout, false);
#endif
	}
	return 1;
}

STACKS_FUNC int stacks_thread(void *data)
{
	struct stacks_parked *parked = data;
	int result = parked->enter(parked);

	STACKS_NO_TAIL_CALL(result);
	return result;
}

static const struct {
	const char *name;
	int (*enter)(struct stacks_parked *parked);
	bool runs;
} kinds[] = {
	{ "nested", stacks_outer },
	{ "deep", stacks_deep },
	{ "far", stacks_across },
	{ "bpf", stacks_bpf },
	{ "spin", stacks_spin, .runs = true },
};

static bool asleep(const struct stacks_parked *parked)
{
#ifdef CONFIG_SMP
	if (READ_ONCE(parked->task->on_cpu))
		return false;
#endif
	return READ_ONCE(parked->arrived) && READ_ONCE(parked->task->__state) == TASK_IDLE;
}

static bool arrives(const struct stacks_parked *parked, bool runs)
{
	unsigned long deadline = jiffies + 10 * HZ;

	while (runs ? !READ_ONCE(parked->arrived) : !asleep(parked)) {
		if (time_after(jiffies, deadline))
			return false;
		usleep_range(100, 1000);
	}
	return true;
}

/* Starts a thread; when this returns it is where its kind says. */
int stacks_park(const char *kind, unsigned int depth)
{
	struct stacks_parked *parked;
	size_t i;

	for (i = 0; strcmp(kinds[i].name, kind);)
		if (++i == ARRAY_SIZE(kinds))
			return -EINVAL;
	parked = kzalloc(sizeof(*parked), GFP_KERNEL);
	if (!parked)
		return -ENOMEM;
	parked->enter = kinds[i].enter;
	parked->depth = depth;
	parked->task = kthread_create(stacks_thread, parked, "stacks-%s", kind);
	if (IS_ERR(parked->task)) {
		int ret = PTR_ERR(parked->task);

		kfree(parked);
		return ret;
	}
	get_task_struct(parked->task);
	/* All that run share the last CPU, so that they preempt each other and nobody else. */
	if (kinds[i].runs)
		kthread_bind(parked->task, cpumask_last(cpu_online_mask));
	mutex_lock(&lock);
	list_add_tail(&parked->list, &all_parked);
	mutex_unlock(&lock);
	wake_up_process(parked->task);
	return arrives(parked, kinds[i].runs) ? 0 : -ETIMEDOUT;
}

/* The calling task, which is no thread of ours, sleeps until all are released. */
int stacks_sleep_here(void)
{
	struct stacks_parked parked = { .task = current };

	mutex_lock(&lock);
	list_add_tail(&parked.list, &all_parked);
	mutex_unlock(&lock);
	stacks_sleep(&parked);
	/* Whoever released it may still look at it. */
	mutex_lock(&lock);
	mutex_unlock(&lock);
	return 0;
}

int stacks_release(void)
{
	struct stacks_parked *parked, *next;
	LIST_HEAD(threads);

	mutex_lock(&lock);
	list_for_each_entry_safe(parked, next, &all_parked, list) {
		if (parked->enter)
			list_move_tail(&parked->list, &threads);
		else
			list_del(&parked->list);
		WRITE_ONCE(parked->released, true);
		wake_up_process(parked->task);
	}
	mutex_unlock(&lock);
	list_for_each_entry_safe(parked, next, &threads, list) {
		kthread_stop(parked->task);
		put_task_struct(parked->task);
		kfree(parked);
	}
	return 0;
}

/* Until `each` returns false. */
bool stacks_for_each(bool (*each)(struct stacks_parked *parked, void *context), void *context)
{
	struct stacks_parked *parked;
	bool all = true;

	mutex_lock(&lock);
	list_for_each_entry(parked, &all_parked, list) {
		all = each(parked, context);
		if (!all)
			break;
	}
	mutex_unlock(&lock);
	return all;
}

static bool print_parked(struct stacks_parked *parked, void *context)
{
	/* Asleep, or on its way. */
	if (asleep(parked) || parked->enter)
		seq_printf(context, "%d\n", parked->task->pid);
	return true;
}

/* The process ids of all that are parked, one in a line, the newest last. */
int stacks_parked_show(struct seq_file *m, void *v)
{
	stacks_for_each(print_parked, m);
	return 0;
}
