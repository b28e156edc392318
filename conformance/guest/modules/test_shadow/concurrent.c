// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Shadow variables in contexts that must not sleep, and with several callers at once. */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/livepatch.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/timer.h>

#include "shadow.h"

#define CALLERS 8
#define ROUNDS 400
#define OBJECTS 16

static long object[ROUNDS];

/* "": all went as it should. */
static const char *attach_and_free(void *obj)
{
	int *data = klp_shadow_alloc(obj, ID, sizeof(*data), GFP_ATOMIC, NULL, NULL);

	if (!data)
		return "not attached";
	if (klp_shadow_get_or_alloc(obj, ID, sizeof(*data), GFP_ATOMIC, NULL, NULL) != data)
		return "not found, to be allocated";
	if (klp_shadow_get(obj, ID) != data)
		return "not found";
	klp_shadow_free(obj, ID, NULL);
	return klp_shadow_get(obj, ID) ? "not freed" : "";
}

static const char *in_timer, *in_irq;
static bool timer_in_softirq, irq_in_hardirq;

static void timer_runs(struct timer_list *timer)
{
	timer_in_softirq = in_serving_softirq();
	in_timer = attach_and_free(&object[1]);
}
static DEFINE_TIMER(timer, timer_runs);

static void irq_runs(struct irq_work *work)
{
	irq_in_hardirq = in_hardirq();
	in_irq = attach_and_free(&object[2]);
}

void test_contexts(struct seq_file *m)
{
	struct irq_work work;
	const char *with_irqs_off;
	unsigned long flags;

	local_irq_save(flags);
	with_irqs_off = attach_and_free(&object[0]);
	local_irq_restore(flags);
	EXPECT(!*with_irqs_off);

	in_timer = in_irq = NULL;
	mod_timer(&timer, jiffies + 1);
	init_irq_work(&work, irq_runs);
	irq_work_queue(&work);
	irq_work_sync(&work);
	while (timer_pending(&timer) || !READ_ONCE(in_timer))
		msleep(1);
	EXPECT(irq_in_hardirq);
	EXPECT(in_irq && !*in_irq);
	EXPECT(timer_in_softirq);
	EXPECT(!*in_timer);
}

/* A reader's variable is not handed out again, though it was freed, before the reader says that it is done. */
void test_grace(struct seq_file *m)
{
	void *held, *again[32];
	int i;

	EXPECT(klp_shadow_alloc(&object[0], ID, SIZE, GFP_KERNEL, NULL, NULL));
	rcu_read_lock();
	held = klp_shadow_get(&object[0], ID);
	klp_shadow_free(&object[0], ID, NULL);
	for (i = 0; i < ARRAY_SIZE(again); i++)
		again[i] = klp_shadow_alloc(&object[1 + i], ID, SIZE, GFP_ATOMIC, NULL, NULL);
	rcu_read_unlock();
	EXPECT(held);
	for (i = 0; i < ARRAY_SIZE(again); i++)
		EXPECT(again[i] && again[i] != held);
}

/* What threads are told, and what they have to say. */
static struct callers {
	struct task_struct *thread[CALLERS];
	atomic_t arrived, made, wrong, reads;
	void *found[ROUNDS];
	int count;
} callers;

/* Runs `call` in as many threads as there are CPUs, but at least two. Each is told its number. */
static int call_in_threads(int (*call)(void *number))
{
	int i, started;

	memset(&callers, 0, sizeof(callers));
	callers.count = clamp_t(int, num_online_cpus(), 2, CALLERS);
	for (started = 0; started < callers.count; started++) {
		struct task_struct *thread =
			kthread_create(call, (void *)(long)started, "test_shadow/%d", started);

		if (IS_ERR(thread))
			break;
		/* It will still be there when it has ended by itself. */
		get_task_struct(thread);
		callers.thread[started] = thread;
	}
	for (i = 0; i < started; i++) {
		if (started == callers.count)
			wake_up_process(callers.thread[i]);
	}
	return started == callers.count ? 0 : -ENOMEM;
}

static void wait_for_threads(void)
{
	int i;

	for (i = 0; i < callers.count; i++) {
		if (!callers.thread[i])
			continue;
		kthread_stop(callers.thread[i]);
		put_task_struct(callers.thread[i]);
	}
}

/* A thread has to be there until it is stopped. */
static int until_stopped(void)
{
	while (!kthread_should_stop())
		msleep(1);
	return 0;
}

/* So slow that the others have looked for the variable in vain by then, and wait to attach theirs. */
static int count_made(void *obj, void *data, void *ctor_data)
{
	udelay(500);
	atomic_inc(&callers.made);
	return 0;
}

/* All of them want the same variable at the same time, round after round. */
static int race(void *number)
{
	int round;

	for (round = 0; round < ROUNDS; round++) {
		void *data, *first;

		atomic_inc(&callers.arrived);
		while (atomic_read(&callers.arrived) < callers.count * (round + 1)) {
			if (kthread_should_stop())
				return 0;
			cond_resched();
		}
		data = klp_shadow_get_or_alloc(&object[round], ID, SIZE, GFP_KERNEL, count_made, NULL);
		first = cmpxchg(&callers.found[round], NULL, data);
		if (!data || (first && first != data))
			atomic_inc(&callers.wrong);
	}
	atomic_inc(&callers.arrived);
	return until_stopped();
}

void test_race(struct seq_file *m)
{
	int ret = call_in_threads(race);

	while (!ret && atomic_read(&callers.arrived) < callers.count * (ROUNDS + 1))
		msleep(10);
	wait_for_threads();
	EXPECT(!ret);
	EXPECT(!atomic_read(&callers.wrong));
	EXPECT(atomic_read(&callers.made) == ROUNDS);
}

struct signed_data {
	void *obj;
	unsigned long id, not_id;
};

static int sign(void *obj, void *data, void *id)
{
	struct signed_data *signed_data = data;

	signed_data->obj = obj;
	signed_data->id = (unsigned long)id;
	signed_data->not_id = ~signed_data->id;
	return 0;
}

static void check(struct signed_data *data, void *obj, unsigned long id)
{
	if (!data)
		return;
	atomic_inc(&callers.reads);
	if (data->obj != obj || data->id != id || data->not_id != ~id)
		atomic_inc(&callers.wrong);
}

/* Variables come and go while they are read. */
static int come_and_go(void *number)
{
	u32 random = 12345 + (long)number;

	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < 100; i++) {
			unsigned long id;
			void *obj;

			random = random * 1664525 + 1013904223;
			obj = &object[(random >> 24) % OBJECTS];
			id = random >> 23 & 1 ? ID : OTHER;
			rcu_read_lock();
			switch ((random >> 20) % 8) {
			case 0:
			case 1:
				check(klp_shadow_get_or_alloc(obj, id, sizeof(struct signed_data), GFP_ATOMIC, sign,
							      (void *)id), obj, id);
				break;
			case 2:
				klp_shadow_free(obj, id, NULL);
				break;
			case 3:
				if (!(random >> 12 & 63))
					klp_shadow_free_all(id, NULL);
				break;
			default:
				check(klp_shadow_get(obj, id), obj, id);
			}
			rcu_read_unlock();
		}
		usleep_range(50, 100);
	}
	return 0;
}

void test_stress(struct seq_file *m)
{
	int ret = call_in_threads(come_and_go);

	if (!ret)
		msleep(2000);
	wait_for_threads();
	EXPECT(!ret);
	EXPECT(!atomic_read(&callers.wrong));
	EXPECT(atomic_read(&callers.reads) > 1000);
}
