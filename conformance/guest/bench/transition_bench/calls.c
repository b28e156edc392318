// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What a call of a patched function costs, by whoever reads `calls`; and by a thread that is inside a function that the
 * patch changes, while `hold` is set, by reading `calls_held`. Under QEMU's -icount shift=0 a nanosecond of guest time is an
 * instruction: picoseconds are thousandths of one.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "bench.h"

#define CALLS 200000

/* A call's cost, and how many of the calls ran the replacement. */
struct calls {
	u64 cost;
	unsigned long new;
};

static DEFINE_MUTEX(lock);
static struct task_struct *holder;
static DECLARE_WAIT_QUEUE_HEAD(wait);
static bool asked;
static DECLARE_COMPLETION(answered);
static struct calls answer;

static void run_calls(struct calls *calls)
{
	unsigned long flags, i, sum = 0;
	u64 start, end;

	local_irq_save(flags);
	start = ktime_get_ns();
	for (i = 0; i < CALLS; i++)
		sum += transition_bench_target(i) - i;
	end = ktime_get_ns();
	local_irq_restore(flags);
	calls->cost = div_u64((end - start) * 1000, CALLS);
	/* The original adds one, the replacement two. */
	calls->new = sum - CALLS;
}

static int show(char *buffer, const struct calls *calls)
{
	return sysfs_emit(buffer, "cost %llu calls %u new %lu\n", calls->cost, CALLS, calls->new);
}

static int calls_get(char *buffer, const struct kernel_param *kp)
{
	struct calls calls;

	run_calls(&calls);
	return show(buffer, &calls);
}

static const struct kernel_param_ops calls_ops = { .get = calls_get };
module_param_cb(calls, &calls_ops, NULL, 0400);

/* Answers one question; false if there is none and the thread is to go. */
bool transition_bench_answer(void)
{
	wait_event_idle(wait, READ_ONCE(asked) || kthread_should_stop());
	if (!asked)
		return false;
	asked = false;
	run_calls(&answer);
	complete(&answered);
	return true;
}

static int calls_held_get(char *buffer, const struct kernel_param *kp)
{
	int ret = -ESRCH;

	mutex_lock(&lock);
	if (holder) {
		WRITE_ONCE(asked, true);
		wake_up(&wait);
		wait_for_completion(&answered);
		ret = show(buffer, &answer);
	}
	mutex_unlock(&lock);
	return ret;
}

static const struct kernel_param_ops calls_held_ops = { .get = calls_held_get };
module_param_cb(calls_held, &calls_held_ops, NULL, 0400);

static int hold_thread(void *data)
{
	return transition_bench_hold();
}

static int hold_set(const char *text, const struct kernel_param *kp)
{
	bool wanted;
	int ret = kstrtobool(text, &wanted);

	if (ret)
		return ret;
	mutex_lock(&lock);
	if (wanted && !holder) {
		holder = kthread_run(hold_thread, NULL, "holder");
		ret = PTR_ERR_OR_ZERO(holder);
		if (ret)
			holder = NULL;
	} else if (!wanted && holder) {
		ret = kthread_stop(holder);
		holder = NULL;
	}
	mutex_unlock(&lock);
	return ret;
}

static const struct kernel_param_ops hold_ops = { .set = hold_set };
module_param_cb(hold, &hold_ops, NULL, 0200);
