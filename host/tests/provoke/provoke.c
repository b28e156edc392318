// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Provokes what the runner must notice: `insmod provoke.ko what=…`.
 *
 * Built with provoke.what's default it does nothing.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *what = "nothing";
module_param(what, charp, 0);

static int sleep_uninterruptibly(void *unused)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule();
	return 0;
}

static int __init provoke_init(void)
{
	int *volatile nowhere = NULL;

	if (!strcmp(what, "warning"))
		WARN(1, "provoked\n");
	else if (!strcmp(what, "bug"))
		BUG();
	else if (!strcmp(what, "null"))
		*nowhere = 1;
	else if (!strcmp(what, "wild"))
		*(volatile int *)0x5a5a5a5a5a5a5a58UL = 1;
	else if (!strcmp(what, "atomic")) {
		preempt_disable();
		schedule();
		preempt_enable();
	} else if (!strcmp(what, "spin")) {
		preempt_disable();
		for (;;)
			cpu_relax();
	} else if (!strcmp(what, "hang")) {
		kthread_run(sleep_uninterruptibly, NULL, "provoked");
	} else if (!strcmp(what, "panic"))
		panic("provoked");
	return 0;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("Provokes oopses, warnings and lockups");
MODULE_LICENSE("Dual MIT/GPL");
