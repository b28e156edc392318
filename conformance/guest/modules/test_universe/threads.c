// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Threads of the kernel that sleep in a function that is patched, or elsewhere. */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "target.h"

struct thread {
	struct list_head list;
	struct task_struct *task;
	/* The function that it calls once; none: it just rests. */
	int (*enter)(void);
	/* What that gave, and universe_which() afterwards. */
	bool back;
	int result, which;
};

static LIST_HEAD(threads);
static DEFINE_MUTEX(lock);

static int thread(void *data)
{
	struct thread *self = data;

	if (self->enter) {
		self->result = self->enter();
		self->which = universe_which();
		smp_store_release(&self->back, true);
	}
	for (;;) {
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static const struct {
	const char *name;
	int (*enter)(void);
} kinds[] = {
	{ "sleep", universe_sleep },
	{ "nap", universe_nap },
	{ "rest", NULL },
};

/* "KIND [COUNT]": starts so many. */
int universe_threads_start(char *text)
{
	unsigned int count = 1;
	char kind[16];
	size_t i;

	if (sscanf(text, "%15s %u", kind, &count) < 1)
		return -EINVAL;
	for (i = 0; strcmp(kinds[i].name, kind);)
		if (++i == ARRAY_SIZE(kinds))
			return -EINVAL;
	while (count--) {
		struct thread *new = kzalloc(sizeof(*new), GFP_KERNEL);

		if (!new)
			return -ENOMEM;
		new->enter = kinds[i].enter;
		new->task = kthread_create(thread, new, "universe-%s", kind);
		if (IS_ERR(new->task)) {
			int ret = PTR_ERR(new->task);

			kfree(new);
			return ret;
		}
		get_task_struct(new->task);
		mutex_lock(&lock);
		list_add_tail(&new->list, &threads);
		mutex_unlock(&lock);
		wake_up_process(new->task);
	}
	return 0;
}

/* "PID asleep", or "PID RESULT WHICH" once it is back, of each that entered a function. */
int universe_threads_show(struct seq_file *m, void *v)
{
	struct thread *thread;

	mutex_lock(&lock);
	list_for_each_entry(thread, &threads, list) {
		if (!thread->enter)
			continue;
		if (smp_load_acquire(&thread->back))
			seq_printf(m, "%d %d %d\n", thread->task->pid, thread->result, thread->which);
		else
			seq_printf(m, "%d asleep\n", thread->task->pid);
	}
	mutex_unlock(&lock);
	return 0;
}

/* All that sleep have to be released before. */
void universe_threads_stop(void)
{
	struct thread *thread, *next;

	mutex_lock(&lock);
	list_for_each_entry_safe(thread, next, &threads, list) {
		kthread_stop(thread->task);
		put_task_struct(thread->task);
		list_del(&thread->list);
		kfree(thread);
	}
	mutex_unlock(&lock);
}
