// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Replaces one function by another that calls it, whatever it is. Parameters: "symbol", "object" (vmlinux if there is none) and
 * "flags". "calls": how often the replacement was called. Writing to "wake" wakes all tasks that wait for
 * something to do, which may sleep for minutes where they are; none of them counts on being woken for a reason.
 */
#include <linux/atomic.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>

/* All that registers hold of arguments where they hold the fewest: five (s390). A function that takes fewer does not look. */
KLP_ORIGINAL(unsigned long, passthrough,
	     (unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e), (a, b, c, d, e));

static atomic_t count = ATOMIC_INIT(0);

static unsigned long new_passthrough(unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e)
{
	atomic_inc(&count);
	return klp_original_passthrough(a, b, c, d, e);
}

static int calls_get(char *buffer, const struct kernel_param *param)
{
	return sprintf(buffer, "%d\n", atomic_read(&count));
}

static const struct kernel_param_ops calls_ops = { .get = calls_get };
module_param_cb(calls, &calls_ops, NULL, 0400);

static int wake_set(const char *text, const struct kernel_param *param)
{
	struct task_struct *process, *task;

	rcu_read_lock();
	for_each_process_thread(process, task) {
		unsigned int state = READ_ONCE(task->__state);

		if (state == TASK_INTERRUPTIBLE || state == TASK_IDLE)
			wake_up_process(task);
	}
	rcu_read_unlock();
	return 0;
}

static const struct kernel_param_ops wake_ops = { .set = wake_set };
module_param_cb(wake, &wake_ops, NULL, 0200);

static struct klp_func funcs[] = {
	{ .new_func = new_passthrough, .original = &KLP_ORIGINAL_OF(passthrough) },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static char *symbol = "";
module_param(symbol, charp, 0400);
static char *object;
module_param(object, charp, 0400);
module_param_named(flags, patch.flags, uint, 0400);

static int __init patch_init(void)
{
	funcs[0].old_name = symbol;
	objects[0].name = object;
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: any function");
MODULE_INFO(livepatch, "Y");
