// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Another user of ftrace that redirects test_value(): to itself, so that nothing changes. */
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/string.h>

static void notrace callback(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			     struct ftrace_regs *fregs)
{
}

static struct ftrace_ops ops = {
	.func = callback,
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_REGS
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_SAVE_REGS,
#else
	.flags = FTRACE_OPS_FL_IPMODIFY,
#endif
};

static char name[] = "test_value";

static int __init ipmodify_init(void)
{
	int ret = ftrace_set_filter(&ops, name, strlen(name), 1);

	if (ret)
		return ret;
	ret = register_ftrace_function(&ops);
	if (ret)
		ftrace_free_filter(&ops);
	return ret;
}

static void __exit ipmodify_exit(void)
{
	unregister_ftrace_function(&ops);
	ftrace_free_filter(&ops);
}

module_init(ipmodify_init);
module_exit(ipmodify_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: another IPMODIFY user");
