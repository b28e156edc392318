// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* `sleepers`: how many kernel threads sleep, in a function of the kernel's own (kthread_worker_fn). */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>

#define MAX_SLEEPERS 10000

static struct kthread_worker *sleepers[MAX_SLEEPERS];
static unsigned int count;

static int sleepers_set(const char *text, const struct kernel_param *kp)
{
	unsigned int wanted;
	int ret = kstrtouint(text, 0, &wanted);

	if (ret)
		return ret;
	if (wanted > MAX_SLEEPERS)
		return -ERANGE;
	for (; count > wanted; count--)
		kthread_destroy_worker(sleepers[count - 1]);
	for (; count < wanted; count++) {
		struct kthread_worker *worker = kthread_create_worker(0, "sleeper");

		if (IS_ERR(worker))
			return PTR_ERR(worker);
		sleepers[count] = worker;
	}
	return 0;
}

/* Parameters are set one at a time. */
static const struct kernel_param_ops sleepers_ops = { .set = sleepers_set, .get = param_get_uint };
module_param_cb(sleepers, &sleepers_ops, &count, 0600);
