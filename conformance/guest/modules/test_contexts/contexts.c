// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Replaces a function that interrupts call, and one that idle tasks call. */
#include <linux/cpumask.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/sched.h>

static int new_context(void)
{
	return 2;
}

/* Calls by idle tasks, of each CPU. */
static DEFINE_PER_CPU(unsigned long, idle_calls);

KLP_ORIGINAL_VOID(flush_smp_call_function_queue, (void), ());

static void new_flush_smp_call_function_queue(void)
{
	if (is_idle_task(current))
		this_cpu_inc(idle_calls);
	klp_original_flush_smp_call_function_queue();
}

static int idle_get(char *buffer, const struct kernel_param *param)
{
	int cpu, length = 0;

	for_each_online_cpu(cpu)
		length += scnprintf(buffer + length, PAGE_SIZE - length, "%lu ", per_cpu(idle_calls, cpu));
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "\n");
}

static const struct kernel_param_ops idle_ops = { .get = idle_get };
module_param_cb(idle, &idle_ops, NULL, 0400);

static struct klp_func target_funcs[] = {
	{ .old_name = "test_context", .new_func = new_context },
	{ }
};

static struct klp_func vmlinux_funcs[] = {
	{
		.old_name = "flush_smp_call_function_queue",
		.new_func = new_flush_smp_call_function_queue,
		.original = &KLP_ORIGINAL_OF(flush_smp_call_function_queue),
	},
	{ }
};

static struct klp_object objects[] = {
	{ .name = "test_target", .funcs = target_funcs },
	{ .name = NULL /* vmlinux */, .funcs = vmlinux_funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: interrupts and idle tasks");
MODULE_INFO(livepatch, "Y");
