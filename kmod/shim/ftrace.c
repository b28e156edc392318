// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Hooks: one ftrace_ops for each patched function, so that the callback finds its function without a search. */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/llist.h>
#include <linux/preempt.h>
#include <linux/rethook.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>

#include "hook.h"

/* From 6.13 on the members of struct ftrace_regs are behind another name (include/linux/ftrace_regs.h). */
#ifdef KLP_HAVE_ARCH_FTRACE_REGS
#define KLP_FREGS(member) offsetof(struct __arch_ftrace_regs, member)
#define KLP_FREGS_SIZE sizeof(struct __arch_ftrace_regs)
#else
#define KLP_FREGS(member) offsetof(struct ftrace_regs, member)
#define KLP_FREGS_SIZE sizeof(struct ftrace_regs)
#endif

const struct klp_regs_layout klp_shim_regs_layout = {
	.size = KLP_FREGS_SIZE,
	.pc = KLP_REGS_PC,
	.sp = KLP_REGS_SP,
	.ra = KLP_REGS_RA,
	.gprs = KLP_REGS_GPRS,
};

/*
 * A return probe of the function that comes before us has taken the return address already, and has it in the task's newest
 * records.
 */
unsigned long notrace klp_unprobed_caller(unsigned long parent_ip)
{
#ifdef CONFIG_KRETPROBES
	struct llist_node *node;

	if (likely(parent_ip != klp_shim_return_probe))
		return parent_ip;
#ifdef CONFIG_KRETPROBE_ON_RETHOOK
	for (node = current->rethooks.first; node; node = node->next) {
		unsigned long addr = (unsigned long)llist_entry(node, struct rethook_node, llist)->ret_addr;
#else
	for (node = current->kretprobe_instances.first; node; node = node->next) {
		unsigned long addr = (unsigned long)llist_entry(node, struct kretprobe_instance, llist)->ret_addr;
#endif
		if (addr != klp_shim_return_probe)
			return addr;
	}
#endif
	return parent_ip;
}

/* The return address of the call. Where kprobes are not on ftrace, they sit in front of the site. */
static inline unsigned long klp_caller(unsigned long parent_ip)
{
	return IS_ENABLED(CONFIG_KPROBES_ON_FTRACE) ? parent_ip : klp_unprobed_caller(parent_ip);
}

/*
 * Any context; nothing it calls can be traced, so it needs no recursion guard. Preemption is off so that unregistering,
 * which waits for every CPU to schedule, also waits for this.
 */
static void notrace klp_ftrace_handler(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
				       struct ftrace_regs *fregs)
{
	struct klp_hook *hook = container_of(ops, struct klp_hook, ops);

	preempt_disable_notrace();
	klp_rs_redirect(hook->redirect, klp_caller(parent_ip), fregs, (u64)current);
	preempt_enable_notrace();
}

/* Random, drawn when the task is made, and the same for all its life. */
u64 notrace klp_shim_owner(const struct task_struct *task)
{
#ifdef CONFIG_STACKPROTECTOR
	return (u64)task ^ task->stack_canary;
#else
	return (u64)task;
#endif
}

void notrace klp_shim_current(struct klp_current *out)
{
	out->stack = (u64)task_stack_page(current);
	out->size = THREAD_SIZE;
	out->owner = klp_shim_owner(current);
}

struct klp_range klp_shim_return_stub_text;
struct klp_range klp_shim_direct_text;

#ifdef KLP_RETURN_STUB
extern char klp_return_stub[], klp_return_stub_end[];

u64 notrace klp_shim_return_stub(void)
{
	return (u64)klp_return_stub;
}
#else
u64 notrace klp_shim_return_stub(void)
{
	return 0;
}
#endif

void klp_shim_ftrace_init(void)
{
#ifdef KLP_RETURN_STUB
	klp_shim_return_stub_text.start = (u64)klp_return_stub;
	klp_shim_return_stub_text.size = klp_return_stub_end - klp_return_stub;
#endif
	klp_shim_direct_text = klp_direct_stubs();
	klp_slot_init();
}

size_t klp_shim_hook_size(void)
{
	return sizeof(struct klp_hook);
}

void klp_shim_hook_init(struct klp_hook *hook, u64 site, bool full_regs)
{
	hook->site = site;
	hook->ops.func = klp_ftrace_handler;
	hook->ops.flags = FTRACE_OPS_FL_DYNAMIC | FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
	/* Where the kernel has no smaller block, a callback gets one at all only by asking for all registers. */
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_REGS
	if (full_regs || !IS_ENABLED(CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS))
		hook->ops.flags |= FTRACE_OPS_FL_SAVE_REGS;
#endif
}

void *klp_shim_hook_redirect(struct klp_hook *hook)
{
	return hook->redirect;
}

int klp_shim_hook_arm(struct klp_hook *hook)
{
	int ret = ftrace_set_filter_ip(&hook->ops, hook->site, 0, 0);

	if (ret)
		return ret;
	ret = register_ftrace_function(&hook->ops);
	if (ret)
		ftrace_set_filter_ip(&hook->ops, hook->site, 1, 0);
	else
		hook->armed = true;
	return ret;
}

unsigned int klp_shim_hook_entry(const struct klp_hook *hook)
{
	return klp_is_direct(hook) ? KLP_ENTRY_DIRECT : KLP_ENTRY_CALLBACK;
}

void klp_shim_hook_enter_cheaply(struct klp_hook *hook, u64 target)
{
	klp_direct_enter(hook, target);
}

int klp_shim_hook_enter_by_callback(struct klp_hook *hook)
{
	return klp_direct_leave(hook);
}

void klp_shim_hook_disarm(struct klp_hook *hook)
{
	if (!hook->armed)
		return;
	klp_direct_drop(hook);
	WARN_ON(unregister_ftrace_function(&hook->ops));
	ftrace_free_filter(&hook->ops);
	hook->armed = false;
}
