// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* All tasks, with the machine stopped. */
#include <linux/cpu.h>
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
};

static bool klp_show_task(const struct klp_each_task *call, struct task_struct *task)
{
	struct klp_task shown = { .pid = task->pid };

	/* An exited task may have given its stack back. */
	if (!task_stack_page(task) || !refcount_read(&task->stack_refcount))
		return true;
	memcpy(shown.comm, task->comm, sizeof(shown.comm));
	shown.stack = (u64)task_stack_page(task);
	shown.size = THREAD_SIZE;
	if (task == current)
		shown.sp = (u64)__builtin_frame_address(0);
	else if (!READ_ONCE(task->on_cpu))
		shown.sp = KLP_TASK_SP(task);
	return call->each(call->context, &shown);
}

static int klp_each_task_stopped(void *data)
{
	const struct klp_each_task *call = data;
	struct task_struct *process, *task;
	int cpu;

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
	struct klp_each_task call = { .each = each, .context = context };

	stop_machine(klp_each_task_stopped, &call, NULL);
}
