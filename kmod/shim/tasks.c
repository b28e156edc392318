// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* All tasks, with the machine stopped. */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/ftrace.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/nmi.h>
#include <linux/stop_machine.h>
#include <linux/string.h>
#include <asm/stacktrace.h>

#include "shim.h"

struct klp_stop {
	klp_work_fn work;
	void *context;
	atomic_t arrived;
	bool done;
};

/* From where each CPU's stopper called us; it is what runs there while the machine is stopped. */
struct klp_here {
	u64 pc, sp, fp;
};
static DEFINE_PER_CPU(struct klp_here, klp_stopper);

/*
 * Where the frames begin that the searching task had before it entered this module. What it has called since, it called
 * after the patch in question was taken back, so none of it is the patch's; but the addresses that are searched for, and
 * found, lie about there.
 */
static u64 klp_search_floor;
static struct task_struct *klp_searcher;

void klp_shim_search_from(void *frame)
{
	klp_search_floor = (u64)frame;
	klp_searcher = current;
}

/* include/linux/ftrace.h: an array of structures, from 6.11 on an array of words. */
static void klp_show_graph(struct klp_task *shown, struct task_struct *task)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (!task->ret_stack || task->curr_ret_stack < 0)
		return;
	shown->graph = (u64)task->ret_stack;
	if (__builtin_types_compatible_p(typeof(task->ret_stack), unsigned long *))
		shown->graph_size = task->curr_ret_stack * sizeof(unsigned long);
	else
		shown->graph_size = (task->curr_ret_stack + 1) * sizeof(struct ftrace_ret_stack);
#endif
}

static bool klp_is_running(struct task_struct *task)
{
#ifdef CONFIG_SMP
	return READ_ONCE(task->on_cpu);
#else
	return task == current;
#endif
}

void klp_shim_show_task(struct klp_task *shown, struct task_struct *task)
{
	*shown = (struct klp_task) {
		.task = task,
		.pid = task->pid,
		.is_user = !(task->flags & KLP_NEVER_USER),
		.booted = task == &init_task,
		.start = KLP_START_NO_STACK,
	};
	memcpy(shown->comm, task->comm, sizeof(shown->comm));
	/* An exited task may have given its stack back; one that is about to is dead before. */
	if (!task_stack_page(task) || !refcount_read(&task->stack_refcount))
		return;
	shown->stack = (u64)task_stack_page(task);
	shown->size = THREAD_SIZE;
	shown->bottom = KLP_TASK_BOTTOM(task);
	shown->owner = klp_shim_owner(task);
	klp_show_graph(shown, task);
	if (klp_is_running(task)) {
		shown->start = KLP_START_RUNNING;
		return;
	}
	if (READ_ONCE(task->__state) & TASK_DEAD)
		return;
	shown->start = KLP_START_SWITCHED_OUT;
	shown->sp = KLP_TASK_SP(task);
	shown->pc = KLP_TASK_PC(task);
	shown->fp = KLP_TASK_FP(task);
}

void klp_shim_show_stopped(struct klp_task *shown, struct task_struct *task)
{
	klp_shim_show_task(shown, task);
	if (shown->start == KLP_START_RUNNING) {
		const struct klp_here *here = &per_cpu(klp_stopper, task_cpu(task));

		if (cpu_online(task_cpu(task))) {
			shown->start = KLP_START_CALLER;
			shown->sp = here->sp;
			shown->pc = here->pc;
			shown->fp = here->fp;
		} else if (is_idle_task(task)) {
			/* It died there (arch_cpu_idle_dead), and starts anew at the top of its stack. */
			shown->start = KLP_START_NO_STACK;
		}
	}
	shown->floor = task == klp_searcher ? klp_search_floor : shown->sp;
}

void klp_shim_each_task(klp_task_fn each, void *context)
{
	struct task_struct *process, *task;
	int cpu;

	for_each_process_thread(process, task) {
		touch_nmi_watchdog();
		/* Nothing runs on it any more. */
		if (READ_ONCE(task->__state) & TASK_DEAD && !klp_is_running(task))
			continue;
		if (!each(context, task))
			return;
	}
	/* Idle tasks are in no list. */
	for_each_possible_cpu(cpu) {
		task = klp_shim_idle_task(cpu);
		if (task && !each(context, task))
			return;
	}
}

/*
 * Runs on every CPU. The last to come does the work: then all stack pointers are known. The others wait here, not where they
 * came from, whose functions may be traced: what the tracer keeps for them must not change. Nor is this file traced: the
 * caller's address must be the caller's.
 */
static int klp_stopped(void *data)
{
	struct klp_stop *stop = data;
	struct klp_here *here = this_cpu_ptr(&klp_stopper);

	KLP_CALLER(here->pc, here->sp, here->fp);
	if (atomic_inc_return(&stop->arrived) != num_online_cpus()) {
		while (!smp_load_acquire(&stop->done)) {
			touch_nmi_watchdog();
			cpu_relax();
		}
		return 0;
	}
	stop->work(stop->context);
	smp_store_release(&stop->done, true);
	return 0;
}

void klp_shim_stop_machine(klp_work_fn work, void *context)
{
	struct klp_stop stop = { .work = work, .context = context };

	stop_machine(klp_stopped, &stop, cpu_online_mask);
}

size_t klp_shim_task_count(void)
{
	struct task_struct *process, *task;
	size_t count = num_possible_cpus();

	rcu_read_lock();
	for_each_process_thread(process, task)
		count++;
	rcu_read_unlock();
	return count;
}

void klp_shim_pin(struct task_struct *task)
{
	get_task_struct(task);
}

void klp_shim_unpin(struct task_struct *task)
{
	put_task_struct(task);
}

struct klp_held {
	klp_held_fn look;
	void *context;
};

static int klp_look(struct task_struct *task, void *data)
{
	struct klp_held *held = data;
	struct klp_task shown;

	klp_shim_show_task(&shown, task);
	held->look(held->context, &shown);
	return 0;
}

bool klp_shim_hold(struct task_struct *task, klp_held_fn look, void *context)
{
	struct klp_held held = { .look = look, .context = context };

	return klp_shim_call_held(task, klp_look, &held);
}
