// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What a transition costs: `cost`, in nanoseconds, which are instructions under QEMU's -icount shift=0. From the request to
 * the callback that says it is complete, without the time that the CPU was idle; how much of that ftrace took to place or
 * remove hooks; and how long the machine was stopped meanwhile. The measured guest has one CPU.
 */
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/tick.h>

#include "bench.h"

static struct {
	u64 begin, busy, idle, hooks;
	u64 stops, stopped, longest;
	unsigned long tasks;
} meter;

static u64 idle_ns(void)
{
	return get_cpu_idle_time_us(0, NULL) * NSEC_PER_USEC;
}

static unsigned long count_tasks(void)
{
	struct task_struct *process, *task;
	unsigned long count = num_possible_cpus();

	rcu_read_lock();
	for_each_process_thread(process, task)
		count++;
	rcu_read_unlock();
	return count;
}

/* A patch is about to be enabled or disabled. */
void transition_bench_begin(void)
{
	memset(&meter, 0, sizeof(meter));
	meter.idle = idle_ns();
	meter.begin = ktime_get_ns();
}
EXPORT_SYMBOL_GPL(transition_bench_begin);

/* Its transition is complete. */
void transition_bench_end(void)
{
	u64 end = ktime_get_ns();

	meter.idle = idle_ns() - meter.idle;
	meter.busy = end - meter.begin - meter.idle;
	meter.tasks = count_tasks();
}
EXPORT_SYMBOL_GPL(transition_bench_end);

static int cost_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "tasks %lu busy %llu hooks %llu idle %llu stops %llu stopped %llu longest %llu\n",
			  meter.tasks, meter.busy, meter.hooks, meter.idle, meter.stops, meter.stopped, meter.longest);
}

static const struct kernel_param_ops cost_ops = { .get = cost_get };
module_param_cb(cost, &cost_ops, NULL, 0400);

/* Writes 0 to the file whose name is written here: a patch's `enabled`. */
static int disable_set(const char *text, const struct kernel_param *kp)
{
	char *name = kstrdup(text, GFP_KERNEL);
	struct file *file;
	loff_t pos = 0;
	ssize_t ret;

	if (!name)
		return -ENOMEM;
	file = filp_open(strim(name), O_WRONLY, 0);
	kfree(name);
	if (IS_ERR(file))
		return PTR_ERR(file);
	transition_bench_begin();
	ret = kernel_write(file, "0", 1, &pos);
	filp_close(file, NULL);
	return min_t(ssize_t, ret, 0);
}

static const struct kernel_param_ops disable_ops = { .set = disable_set };
module_param_cb(disable, &disable_ops, NULL, 0200);

/* A function's time is added up. */
struct span {
	u64 begin, idle;
};

static int span_begins(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	*(struct span *)instance->data = (struct span){ .idle = idle_ns(), .begin = ktime_get_ns() };
	return 0;
}

static int stop_ends(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	const struct span *span = (const struct span *)instance->data;
	u64 took = ktime_get_ns() - span->begin;

	meter.stops++;
	meter.stopped += took;
	meter.longest = max(meter.longest, took);
	return 0;
}

static int hook_ends(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	const struct span *span = (const struct span *)instance->data;
	u64 took = ktime_get_ns() - span->begin;

	meter.hooks += took - (idle_ns() - span->idle);
	return 0;
}

#define PROBE(name, end) { \
	.kp.symbol_name = name, .entry_handler = span_begins, .handler = end, .data_size = sizeof(struct span) \
}

static struct kretprobe probes[] = {
	/* What each CPU runs while the machine is stopped (kernel/stop_machine.c). */
	PROBE("multi_cpu_stop", stop_ends),
	/* What placing and removing a hook calls, here as in kernel/livepatch/patch.c. */
	PROBE("ftrace_set_filter_ip", hook_ends),
	PROBE("register_ftrace_function", hook_ends),
	PROBE("unregister_ftrace_function", hook_ends),
};

static int __init bench_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		int ret = register_kretprobe(&probes[i]);

		while (ret && i--)
			unregister_kretprobe(&probes[i]);
		if (ret)
			return ret;
	}
	return 0;
}

static void __exit bench_exit(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		unregister_kretprobe(&probes[i]);
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Benchmark: what transitions cost");
