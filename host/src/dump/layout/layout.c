// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Numbers that a reader of memory dumps needs of a kernel: where fields lie, how large things are. Nobody loads this; the
 * section .klp_layout is read from the file: for each number its name, a zero byte, and 64 bits.
 */
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/rethook.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#ifdef CONFIG_UNWINDER_ORC
#include <asm/orc_types.h>
#endif

/* The operand modifier that prints a number and nothing else; where it does something else, plain numbers need none. */
#ifndef KLP_OPERAND
#define KLP_OPERAND "%c0"
#endif
#define KLP_NUMBER(name, value) \
	asm volatile(".pushsection .klp_layout,\"a\"\n\t.asciz \"" name "\"\n\t.8byte " KLP_OPERAND "\n\t.popsection" \
		     : : "i" ((u64)(value)))
#define KLP_FIELD(type, field) KLP_NUMBER(#type "." #field, offsetof(struct type, field))
/* A field of a task that the architecture has a macro for. */
#define KLP_TASK_FIELD(name, macro) KLP_NUMBER(name, (u64)&macro((struct task_struct *)0))

/* What a task's bottom depends on, for stacks that start at 0. */
static const struct task_struct klp_user = { .pid = 1 };
static const struct task_struct klp_kthread = { .pid = 1, .flags = PF_KTHREAD };
static const struct task_struct klp_idle = { .flags = PF_KTHREAD | PF_IDLE };

static void __used klp_layout(void)
{
	KLP_NUMBER("THREAD_SIZE", THREAD_SIZE);
	KLP_NUMBER("PF_KTHREAD", PF_KTHREAD);
	KLP_NUMBER("TASK_DEAD", TASK_DEAD);
	KLP_NUMBER("TASK_IDLE", TASK_IDLE);
	KLP_NUMBER("TASK_PARKED", TASK_PARKED);
	KLP_NUMBER("TASK_INTERRUPTIBLE", TASK_INTERRUPTIBLE);
	KLP_NUMBER("TASK_UNINTERRUPTIBLE", TASK_UNINTERRUPTIBLE);
	KLP_NUMBER("__TASK_STOPPED", __TASK_STOPPED);
	KLP_NUMBER("__TASK_TRACED", __TASK_TRACED);
	KLP_NUMBER("EXIT_ZOMBIE", EXIT_ZOMBIE);
	KLP_NUMBER("EXIT_DEAD", EXIT_DEAD);
	KLP_NUMBER("bottom.user", KLP_TASK_BOTTOM(&klp_user));
	KLP_NUMBER("bottom.kthread", KLP_TASK_BOTTOM(&klp_kthread));
	KLP_NUMBER("bottom.idle", KLP_TASK_BOTTOM(&klp_idle));

	KLP_FIELD(task_struct, tasks);
	KLP_FIELD(task_struct, thread_node);
	KLP_FIELD(task_struct, signal);
	KLP_FIELD(task_struct, comm);
	KLP_FIELD(task_struct, pid);
	KLP_FIELD(task_struct, tgid);
	KLP_FIELD(task_struct, flags);
	KLP_FIELD(task_struct, stack);
	KLP_FIELD(task_struct, stack_refcount);
	KLP_FIELD(task_struct, __state);
	KLP_FIELD(task_struct, exit_state);
	KLP_FIELD(task_struct, real_parent);
	KLP_FIELD(task_struct, group_leader);
#ifdef CONFIG_SMP
	KLP_FIELD(task_struct, on_cpu);
#endif
#ifdef CONFIG_STACKPROTECTOR
	KLP_FIELD(task_struct, stack_canary);
#endif
	KLP_TASK_FIELD("task_struct.sp", KLP_TASK_SP);
/* Where the context switch saves them there, and not on the stack. */
#ifdef KLP_TASK_HAS_PC
	KLP_TASK_FIELD("task_struct.pc", KLP_TASK_PC);
	KLP_TASK_FIELD("task_struct.fp", KLP_TASK_FP);
#endif
	KLP_FIELD(signal_struct, thread_head);

#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	KLP_FIELD(task_struct, ret_stack);
	KLP_FIELD(task_struct, curr_ret_stack);
	KLP_FIELD(ftrace_ret_stack, ret);
	KLP_NUMBER("sizeof(ftrace_ret_stack)", sizeof(struct ftrace_ret_stack));
	/* An array of structures; from 6.11 on an array of words. */
	KLP_NUMBER("ret_stack of words", __builtin_types_compatible_p(typeof(klp_user.ret_stack), unsigned long *));
#endif
#ifdef CONFIG_RETHOOK
	KLP_FIELD(task_struct, rethooks);
	KLP_FIELD(rethook_node, llist);
	KLP_FIELD(rethook_node, ret_addr);
#endif
#if defined(CONFIG_KRETPROBES) && !defined(CONFIG_KRETPROBE_ON_RETHOOK)
	KLP_FIELD(task_struct, kretprobe_instances);
	KLP_FIELD(kretprobe_instance, llist);
	KLP_FIELD(kretprobe_instance, ret_addr);
#endif

	KLP_FIELD(module, state);
	KLP_FIELD(module, list);
	KLP_FIELD(module, name);
	KLP_FIELD(module, mkobj.mod);
	KLP_FIELD(module, kallsyms);
	KLP_FIELD(mod_kallsyms, symtab);
	KLP_FIELD(mod_kallsyms, num_symtab);
	KLP_FIELD(mod_kallsyms, strtab);
#ifdef KLP_HAVE_MODULE_MEM
	KLP_NUMBER("module.text", offsetof(struct module, mem[MOD_TEXT].base));
	KLP_NUMBER("module.text_size", offsetof(struct module, mem[MOD_TEXT].size));
	KLP_NUMBER("module.init_text", offsetof(struct module, mem[MOD_INIT_TEXT].base));
	KLP_NUMBER("module.init_text_size", offsetof(struct module, mem[MOD_INIT_TEXT].size));
#else
	KLP_NUMBER("module.text", offsetof(struct module, core_layout.base));
	KLP_NUMBER("module.text_size", offsetof(struct module, core_layout.text_size));
	KLP_NUMBER("module.init_text", offsetof(struct module, init_layout.base));
	KLP_NUMBER("module.init_text_size", offsetof(struct module, init_layout.text_size));
#endif
#ifdef CONFIG_KALLSYMS_ABSOLUTE_PERCPU
	KLP_NUMBER("KALLSYMS_ABSOLUTE_PERCPU", 1);
#endif
#ifdef CONFIG_UNWINDER_ORC
	KLP_FIELD(module, arch.num_orcs);
	KLP_FIELD(module, arch.orc_unwind_ip);
	KLP_FIELD(module, arch.orc_unwind);
#ifdef ORC_TYPE_UNDEFINED
	KLP_NUMBER("ORC_TYPE_UNDEFINED", ORC_TYPE_UNDEFINED);
#endif
#endif
}

MODULE_DESCRIPTION("Where fields lie in this kernel's structures; never loaded");
MODULE_LICENSE("Dual MIT/GPL");
