// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Tasks that sleep until all are released. */
#include <linux/errno.h>
#include <linux/list.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "target.h"

struct sleeper {
	struct list_head list;
	struct task_struct *task;
};

static LIST_HEAD(sleepers);
static DEFINE_SPINLOCK(lock);
static DECLARE_WAIT_QUEUE_HEAD(queue);
/* How often all were released. */
static unsigned long releases;

/* No function of its own file calls it, none that is patched is inlined into it: who sleeps is to be found further up. */
UNIVERSE_FUNC int universe_asleep(unsigned int state)
{
	struct sleeper self = { .task = current };
	unsigned long before = READ_ONCE(releases);
	DEFINE_WAIT(wait);
	int result = 0;

	spin_lock(&lock);
	list_add_tail(&self.list, &sleepers);
	spin_unlock(&lock);
	for (;;) {
		prepare_to_wait(&queue, &wait, state);
		if (READ_ONCE(releases) != before)
			break;
		if (signal_pending_state(state, current)) {
			result = -ERESTARTSYS;
			break;
		}
		schedule();
		if (state == TASK_INTERRUPTIBLE && (current->flags & PF_KTHREAD) && READ_ONCE(releases) == before) {
			result = -EAGAIN;
			break;
		}
	}
	finish_wait(&queue, &wait);
	spin_lock(&lock);
	list_del(&self.list);
	spin_unlock(&lock);
	return result;
}

/* The process ids of all that sleep, one in a line. */
int universe_sleepers_show(struct seq_file *m, void *v)
{
	struct sleeper *sleeper;

	spin_lock(&lock);
	list_for_each_entry(sleeper, &sleepers, list)
		seq_printf(m, "%d\n", sleeper->task->pid);
	spin_unlock(&lock);
	return 0;
}

int universe_release(char *text)
{
	WRITE_ONCE(releases, releases + 1);
	wake_up_all(&queue);
	return 0;
}
