// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A kprobe, also where ftrace knows no site: the kprobes of tracefs refuse functions that cannot be traced. */
#include <linux/kprobes.h>
#include <linux/module.h>

static char *symbol;
module_param(symbol, charp, 0400);

/* Whether it is there, and never hit. */
static bool disabled;
module_param(disabled, bool, 0400);

static unsigned long hits;
module_param(hits, ulong, 0400);

static int hit(struct kprobe *probe, struct pt_regs *regs)
{
	WRITE_ONCE(hits, hits + 1);
	return 0;
}

static struct kprobe probe = { .pre_handler = hit };

static int __init probe_init(void)
{
	probe.symbol_name = symbol;
	if (disabled)
		probe.flags = KPROBE_FLAG_DISABLED;
	return register_kprobe(&probe);
}

static void __exit probe_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(probe_init);
module_exit(probe_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: a kprobe");
