// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Threads on every CPU that call functions while these are patched and unpatched, and check each result. */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/string.h>

#include "target.h"

/* Calls between two rests. Threads that called all the time would leave no time to load patches. */
#define BATCH 200

struct stress {
	struct task_struct *thread;
	struct test_tally tally;
};

static DEFINE_PER_CPU(struct stress, stress);
static DEFINE_MUTEX(stress_lock);
static bool stress_args;

static void stress_value(struct test_tally *tally)
{
	int value = test_value();

	if (value == 1)
		tally->old++;
	else if (test_value_is_known(value))
		tally->new++;
	else if (!tally->bad++) {
		tally->name = "test_value";
		tally->got = value;
	}
}

static int stress_thread(void *data)
{
	struct stress *own = data;

	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < BATCH; i++) {
			if (stress_args)
				test_args_tally(&own->tally);
			else
				stress_value(&own->tally);
		}
		usleep_range(1000, 2000);
	}
	return 0;
}

static void stress_stop(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct stress *own = per_cpu_ptr(&stress, cpu);

		if (own->thread)
			kthread_stop(own->thread);
		own->thread = NULL;
	}
}

static int stress_start(void)
{
	int cpu;

	for_each_online_cpu(cpu) {
		struct stress *own = per_cpu_ptr(&stress, cpu);
		struct task_struct *thread;

		memset(own, 0, sizeof(*own));
		thread = kthread_create_on_node(stress_thread, own, cpu_to_node(cpu), "test_stress/%d", cpu);
		if (IS_ERR(thread)) {
			stress_stop();
			return PTR_ERR(thread);
		}
		kthread_bind(thread, cpu);
		own->thread = thread;
		wake_up_process(thread);
	}
	return 0;
}

void test_stress_stop(void)
{
	mutex_lock(&stress_lock);
	stress_stop();
	mutex_unlock(&stress_lock);
}

int stress_show(struct seq_file *m, void *v)
{
	int cpu;

	/* A line for each CPU that had a thread. */
	for_each_possible_cpu(cpu) {
		const struct test_tally *tally = &per_cpu_ptr(&stress, cpu)->tally;

		if (!(tally->old + tally->new + tally->bad))
			continue;
		seq_printf(m, "%d old %lu new %lu bad %lu", cpu, tally->old, tally->new, tally->bad);
		if (tally->bad)
			seq_printf(m, " %s got %#llx expected %#llx", tally->name, tally->got, tally->expected);
		seq_putc(m, '\n');
	}
	return 0;
}

/* Writing "value" or "args" starts the threads, "off" ends them. */
static int stress_set(const char *text, const struct kernel_param *param)
{
	int ret = 0;

	mutex_lock(&stress_lock);
	stress_stop();
	if (!sysfs_streq(text, "off")) {
		stress_args = sysfs_streq(text, "args");
		ret = stress_args || sysfs_streq(text, "value") ? stress_start() : -EINVAL;
	}
	mutex_unlock(&stress_lock);
	return ret;
}

static const struct kernel_param_ops stress_ops = { .set = stress_set };
module_param_cb(stress, &stress_ops, NULL, 0200);
