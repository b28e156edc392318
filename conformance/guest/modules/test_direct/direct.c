// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Another user of ftrace that has test_value() call it directly: a stub that goes on where it came from, as a BPF program's would.
 * It shares the function with one that redirects it. Where the kernel has no direct calls it is refused with EOPNOTSUPP.
 */
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/string.h>

#include <test.h>

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS
extern char test_direct_stub[];

asm(".pushsection .text\n"
    ".type test_direct_stub, STT_FUNC\n"
    "test_direct_stub:\n"
    TEST_DIRECT_STUB
    ".size test_direct_stub, . - test_direct_stub\n"
    ".popsection\n");

static int shares(struct ftrace_ops *ops, enum ftrace_ops_cmd cmd)
{
	return 0;
}

static struct ftrace_ops ops = { .ops_func = shares };
static char name[] = "test_value";

#ifdef KLP_TEST_DIRECT_OPS
#define register_direct(ops, addr) register_ftrace_direct(ops, addr)
#define unregister_direct(ops, addr) unregister_ftrace_direct(ops, addr, true)
#else
#define register_direct(ops, addr) register_ftrace_direct_multi(ops, addr)
#define unregister_direct(ops, addr) (unregister_ftrace_direct_multi(ops, addr), ftrace_free_filter(ops))
#endif

static int __init direct_init(void)
{
	int ret = ftrace_set_filter(&ops, name, strlen(name), 1);

	if (ret)
		return ret;
	ret = register_direct(&ops, (unsigned long)test_direct_stub);
	if (ret)
		ftrace_free_filter(&ops);
	return ret;
}

static void __exit direct_exit(void)
{
	unregister_direct(&ops, (unsigned long)test_direct_stub);
}
#else
static int __init direct_init(void)
{
	return -EOPNOTSUPP;
}

static void __exit direct_exit(void)
{
}
#endif

module_init(direct_init);
module_exit(direct_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: another user of direct calls");
