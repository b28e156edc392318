// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* All tasks, with the machine stopped. */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/rethook.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/stop_machine.h>
#include <linux/string.h>

#include "shim.h"

struct klp_each_task {
	klp_task_fn each;
	void *context;
	struct task_struct *searcher;
	atomic_t arrived;
};

/* Stack pointer of each CPU's stopper, which is what runs there while the machine is stopped. */
static DEFINE_PER_CPU(u64, klp_stopper_sp);

/*
 * Where the frames begin that the searching task had before it entered this module. What it has called since, it called
 * after the patch in question was taken back, so none of it is the patch's; but the addresses that are searched for, and
 * found, lie about there.
 */
static u64 klp_search_floor;

void klp_shim_search_from(void *frame)
{
	klp_search_floor = (u64)frame;
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

static void klp_show_probed(struct klp_task *shown, u64 addr)
{
	if (shown->probed_count < KLP_MAX_PROBED)
		shown->probed[shown->probed_count] = addr;
	shown->probed_count++;
}

static void klp_show_return_probes(struct klp_task *shown, struct task_struct *task)
{
	struct llist_node *node;

#ifdef CONFIG_RETHOOK
	for (node = task->rethooks.first; node; node = node->next)
		klp_show_probed(shown, (u64)llist_entry(node, struct rethook_node, llist)->ret_addr);
#endif
#if defined(CONFIG_KRETPROBES) && !defined(CONFIG_KRETPROBE_ON_RETHOOK)
	for (node = task->kretprobe_instances.first; node; node = node->next)
		klp_show_probed(shown, (u64)llist_entry(node, struct kretprobe_instance, llist)->ret_addr);
#endif
}

static bool klp_show_task(const struct klp_each_task *call, struct task_struct *task)
{
	struct klp_task shown = { .pid = task->pid };

	/* An exited task may have given its stack back. */
	if (!task_stack_page(task) || !refcount_read(&task->stack_refcount))
		return true;
	klp_show_graph(&shown, task);
	klp_show_return_probes(&shown, task);
	memcpy(shown.comm, task->comm, sizeof(shown.comm));
	shown.stack = (u64)task_stack_page(task);
	shown.size = THREAD_SIZE;
	if (task == call->searcher)
		shown.sp = klp_search_floor;
#ifdef CONFIG_SMP
	else if (READ_ONCE(task->on_cpu))
#else
	else if (task == current)
#endif
		shown.sp = per_cpu(klp_stopper_sp, task_cpu(task));
	else
		shown.sp = KLP_TASK_SP(task);
	return call->each(call->context, &shown);
}

/* Runs on every CPU. The last to come does the work: then all stack pointers are known, and the others wait. */
static int klp_each_task_stopped(void *data)
{
	struct klp_each_task *call = data;
	struct task_struct *process, *task;
	int cpu;

	this_cpu_write(klp_stopper_sp, (u64)__builtin_frame_address(0));
	if (atomic_inc_return(&call->arrived) != num_online_cpus())
		return 0;
	for_each_process_thread(process, task) {
		if (!klp_show_task(call, task))
			return 0;
	}
	/* Idle tasks are in no list. */
	for_each_possible_cpu(cpu) {
		task = klp_shim_idle_task(cpu);
		if (task && !klp_show_task(call, task))
			return 0;
	}
	return 0;
}

void klp_shim_stopped_each_task(klp_task_fn each, void *context)
{
	struct klp_each_task call = { .each = each, .context = context, .searcher = current };

	stop_machine(klp_each_task_stopped, &call, cpu_online_mask);
}
