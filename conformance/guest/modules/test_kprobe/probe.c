// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A kprobe, also where ftrace knows no site: the kprobes of tracefs refuse functions that cannot be traced. */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>

static char *symbol;
module_param(symbol, charp, 0400);

/* Whether it is there, and never hit. */
static bool disabled;
module_param(disabled, bool, 0400);

/* Whether it comes and goes, and how often it came. */
static bool churn;
module_param(churn, bool, 0400);

static unsigned long came;
module_param(came, ulong, 0400);

static unsigned long hits;
module_param(hits, ulong, 0400);

static int hit(struct kprobe *probe, struct pt_regs *regs)
{
	WRITE_ONCE(hits, hits + 1);
	return 0;
}

static struct kprobe probe;

static struct task_struct *thread;

static int probe_register(void)
{
	probe = (struct kprobe) {
		.pre_handler = hit,
		.symbol_name = symbol,
		.flags = disabled ? KPROBE_FLAG_DISABLED : 0,
	};
	return register_kprobe(&probe);
}

static int come_and_go(void *unused)
{
	while (!kthread_should_stop()) {
		bool registered = !probe_register();

		/* As long there as not, and never at the same pace as others. */
		usleep_range(100, 100 + came * 37 % 5000);
		if (registered) {
			WRITE_ONCE(came, came + 1);
			unregister_kprobe(&probe);
		}
		usleep_range(100, 100 + came * 41 % 5000);
	}
	return 0;
}

static int __init probe_init(void)
{
	if (!churn)
		return probe_register();
	thread = kthread_run(come_and_go, NULL, "test_kprobe");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit probe_exit(void)
{
	if (churn)
		kthread_stop(thread);
	else
		unregister_kprobe(&probe);
}

module_init(probe_init);
module_exit(probe_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: a kprobe");
