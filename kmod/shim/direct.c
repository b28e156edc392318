// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Direct calls of ftrace: the patch site calls what leads to the replacement, without callback and without saving registers.
 *
 * The callback's ops stay registered, so that kernel.ftrace_enabled cannot be set to 0 (ops for direct calls lose the flag
 * that says so, register_ftrace_direct() in kernel/trace/ftrace.c), and so that they keep their place in the list of ops: on
 * s390 a kprobe that comes later must run before them. Since ops without any site have all sites, they get one of a function
 * that nobody calls.
 *
 * While both have the site, both lead to the same replacement: the trampoline calls the callback, which sets the resume
 * address, and then goes to the direct call's address all the same.
 */
#include <linux/bitmap.h>
#include <linux/ftrace.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "hook.h"

static bool klp_direct_calls = true;
module_param_named(direct_calls, klp_direct_calls, bool, 0644);
MODULE_PARM_DESC(direct_calls, "let ftrace call replacements directly, which no other direct call (BPF fentry) of the function can share (default: on)");

#define KLP_ANCHOR(n) static __attribute__((__noipa__)) void klp_anchor_##n(void) { }
KLP_EACH_PLACE(KLP_ANCHOR)
#define KLP_ANCHOR_NAME(n) klp_anchor_##n,
static void (*const klp_anchors[])(void) = { KLP_EACH_PLACE(KLP_ANCHOR_NAME) };

/* Under the engine's lock. */
static DECLARE_BITMAP(klp_places, KLP_DIRECT_PLACES);

static unsigned long klp_anchor(const struct klp_hook *hook)
{
	return klp_shim_ftrace_location((unsigned long)klp_anchors[hook->place]);
}

/*
 * Asked by ftrace when ops that change the resume address have, or get, the same site. Those that have it when these are
 * registered are ours; any that come later are refused.
 */
static int klp_direct_shares(struct ftrace_ops *ops, enum ftrace_ops_cmd cmd)
{
	return cmd == FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_SELF ? 0 : -EBUSY;
}

static int klp_register_direct(struct ftrace_ops *ops, unsigned long addr)
{
#ifdef KLP_HAVE_DIRECT_OPS
	return register_ftrace_direct(ops, addr);
#else
	return register_ftrace_direct_multi(ops, addr);
#endif
}

static int klp_unregister_direct(struct ftrace_ops *ops, unsigned long addr)
{
#ifdef KLP_HAVE_DIRECT_OPS
	return unregister_ftrace_direct(ops, addr, false);
#else
	return unregister_ftrace_direct_multi(ops, addr);
#endif
}

/*
 * As if they had never been used: they will be again, and ftrace leaves in them what a failed registration has set, and up to
 * 6.14 the filter that it has freed.
 */
static void klp_forget(struct ftrace_ops *ops)
{
	ftrace_free_filter(ops);
	memset(ops, 0, sizeof(*ops));
}

bool klp_is_direct(const struct klp_hook *hook)
{
	return hook->stub;
}

/* The hook is armed. On an error calls go through the callback as before. */
int klp_direct_enter(struct klp_hook *hook, unsigned long target)
{
	unsigned long stub;
	int ret;

	if (!READ_ONCE(klp_direct_calls))
		return -EOPNOTSUPP;
	hook->place = find_first_zero_bit(klp_places, KLP_DIRECT_PLACES);
	if (hook->place == KLP_DIRECT_PLACES)
		return -ENOSPC;
	ret = ftrace_set_filter_ip(&hook->ops, klp_anchor(hook), 0, 0);
	if (ret)
		return ret;
	hook->direct.ops_func = klp_direct_shares;
	ret = ftrace_set_filter_ip(&hook->direct, hook->site, 0, 0);
	if (ret)
		goto no_filter;
	stub = klp_direct_stub(hook->place, target);
	ret = -ENOMEM;
	if (!stub)
		goto no_direct;
	ret = klp_register_direct(&hook->direct, stub);
	if (ret)
		goto no_direct;
	ret = ftrace_set_filter_ip(&hook->ops, hook->site, 1, 0);
	if (ret)
		goto not_alone;
	hook->stub = stub;
	__set_bit(hook->place, klp_places);
	return 0;

not_alone:
	WARN_ON(klp_unregister_direct(&hook->direct, stub));
no_direct:
	klp_forget(&hook->direct);
no_filter:
	ftrace_set_filter_ip(&hook->ops, klp_anchor(hook), 1, 0);
	return ret;
}

/*
 * Not entered directly any more. On return no task is in the stub, or on its way there: unregistering waits until each has
 * scheduled by itself or been in user mode since (ftrace_shutdown() in kernel/trace/ftrace.c; where the kernel does not preempt
 * itself, until each CPU has scheduled).
 */
void klp_direct_drop(struct klp_hook *hook)
{
	if (!hook->stub)
		return;
	WARN_ON(klp_unregister_direct(&hook->direct, hook->stub));
	klp_forget(&hook->direct);
	hook->stub = 0;
	__clear_bit(hook->place, klp_places);
}

/* Has the callback decide again. On an error calls go where they went. */
int klp_direct_leave(struct klp_hook *hook)
{
	int ret;

	if (!hook->stub)
		return 0;
	ret = ftrace_set_filter_ip(&hook->ops, hook->site, 0, 0);
	if (ret)
		return ret;
	klp_direct_drop(hook);
	ftrace_set_filter_ip(&hook->ops, klp_anchor(hook), 1, 0);
	return 0;
}
