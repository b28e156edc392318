// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Tasks that leave the kernel: what they are asked to do at the border to user mode, and what brings them there. */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/static_call.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <asm/stacktrace.h>

#include "shim.h"

DEFINE_STATIC_CALL_NULL(klp_work_add,
			*(int (*)(struct task_struct *, struct callback_head *, enum task_work_notify_mode))NULL);
DEFINE_STATIC_CALL_NULL(klp_work_cancel, *(struct callback_head *(*)(struct task_struct *, task_work_func_t))NULL);
DEFINE_STATIC_CALL_NULL(klp_wake_state, *(int (*)(struct task_struct *, unsigned int))NULL);

static DECLARE_WAIT_QUEUE_HEAD(klp_gathered);
static bool klp_gathering;
/* Counts how often those that wait were let go. */
static unsigned int klp_rounds;

/* Requests that are still to be noticed. Their work is this module's text. */
static atomic_t klp_asked = ATOMIC_INIT(0);

struct klp_range klp_shim_leave_text;

/*
 * On the way to user mode, or to the end of the task, which is no way out of the kernel. Not traced: it asks where it was
 * called from.
 */
static void notrace klp_leaves(struct callback_head *work)
{
	struct klp_task shown;
	unsigned int round;
	bool waits = false;

	kfree(work);
	klp_shim_show_task(&shown, current);
	shown.start = KLP_START_CALLER;
	KLP_CALLER(shown.pc, shown.sp, shown.fp);

	/* Whoever changes what is asked stops the machine afterwards, which is then not between these. */
	preempt_disable();
	/* In the order against klp_shim_gather(): with this round over, nothing waits any more. */
	round = READ_ONCE(klp_rounds);
	smp_rmb();
	if (!(current->flags & PF_EXITING))
		waits = READ_ONCE(klp_gathering);
	waits = klp_rs_leaves(&shown, waits);
	preempt_enable();
	/* Bounded: what lets it go may need somebody who waits here too. Longer than GATHER_AT_MOST_MS. */
	if (waits && !wait_event_timeout(klp_gathered, READ_ONCE(klp_rounds) != round, 2 * HZ)) {
		preempt_disable();
		klp_rs_waits_no_more((u64)current);
		preempt_enable();
	}
	atomic_dec(&klp_asked);
}

int klp_shim_ask_to_leave(struct task_struct *task)
{
	struct callback_head *work;
	int ret;

	if (task->flags & KLP_NEVER_USER)
		return -EINVAL;
	work = kzalloc(sizeof(*work), GFP_KERNEL);
	if (!work)
		return -ENOMEM;
	init_task_work(work, klp_leaves);
	atomic_inc(&klp_asked);
	ret = static_call(klp_work_add)(task, work, TWA_RESUME);
	if (ret) {
		kfree(work);
		atomic_dec(&klp_asked);
	}
	return ret;
}

void klp_shim_ask_no_more(struct task_struct *task)
{
	struct callback_head *work = static_call(klp_work_cancel)(task, klp_leaves);

	if (work) {
		kfree(work);
		atomic_dec(&klp_asked);
	}
}

void klp_shim_gather(bool wait)
{
	WRITE_ONCE(klp_gathering, wait);
	if (!wait) {
		smp_wmb();
		WRITE_ONCE(klp_rounds, klp_rounds + 1);
		wake_up_all(&klp_gathered);
	}
}

/*
 * Kernel threads as klp_send_signals in kernel/livepatch/transition.c wakes them. Others as the freezer does
 * (fake_signal_wake_up in kernel/freezer.c), but without the lock: a flag that recalc_sigpending() clears meanwhile is set
 * again the next time. Not with TIF_NOTIFY_SIGNAL: on powerpc a signal that comes while the task runs its work enters its
 * handler with half of the registers then, as interrupt_exit_user_prepare_main() restores all for TIF_SIGPENDING only.
 */
void klp_shim_wake(struct task_struct *task)
{
	/* It would cut a core dump short, and what an exiting task still writes. */
	if (task->flags & (PF_EXITING | PF_DUMPCORE))
		return;
	if (!(task->flags & PF_KTHREAD))
		set_tsk_thread_flag(task, TIF_SIGPENDING);
	if (!static_call(klp_wake_state)(task, TASK_INTERRUPTIBLE))
		kick_process(task);
}

struct klp_range klp_shim_noinstr_text;

int klp_shim_leave_init(void)
{
	u64 start = klp_shim_lookup("__noinstr_text_start"), end = klp_shim_lookup("__noinstr_text_end");

	/* With 6.11 the name that cancels by function has changed, and the old one got another meaning. */
	u64 cancel = klp_shim_lookup("task_work_cancel_func");
	u64 add, wake;

	if (!cancel && !klp_shim_resolve("task_work_cancel", &cancel))
		return -ENOENT;
	if (!klp_shim_resolve("task_work_add", &add) || !klp_shim_resolve("wake_up_state", &wake))
		return -ENOENT;
	static_call_update(klp_work_add, (void *)(unsigned long)add);
	static_call_update(klp_work_cancel, (void *)(unsigned long)cancel);
	static_call_update(klp_wake_state, (void *)(unsigned long)wake);
	if (start && end > start)
		klp_shim_noinstr_text = (struct klp_range) { start, end - start };
	klp_shim_leave_text.start = (u64)dereference_function_descriptor(klp_leaves);
	klp_shim_leave_text.size = klp_shim_function_size(klp_shim_leave_text.start);
	return 0;
}

/* Until tasks that had left the list of tasks are dead: they may still run what they were in. */
void klp_shim_wait_for_exits(void)
{
	synchronize_rcu_tasks();
}

size_t klp_shim_symbol(u64 addr, char *name)
{
	return sprint_symbol_no_offset(name, addr);
}

/* There are no transitions left; those that were asked and could not be asked no more are on their way. */
void klp_shim_leave_exit(void)
{
	while (atomic_read(&klp_asked))
		klp_shim_sleep(10);
}
