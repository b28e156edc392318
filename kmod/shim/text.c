// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What a stack walk asks of the kernel: what an address belongs to, the tables that describe it, and the return addresses
 * that tracers keep. Any context: no lock is taken.
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/rethook.h>
#include <linux/sched.h>
#include <linux/static_call.h>

#include "shim.h"

DEFINE_STATIC_CALL_NULL(klp_module_text, *(struct module *(*)(unsigned long))NULL);
DEFINE_STATIC_CALL_NULL(klp_is_text, *(int (*)(unsigned long))NULL);
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
DEFINE_STATIC_CALL_NULL(klp_graph_frame, *(struct ftrace_ret_stack *(*)(struct task_struct *, int))NULL);
static bool klp_have_graph_frame;
#endif

struct klp_text klp_shim_text;
struct klp_table klp_shim_core_table;

#ifdef CONFIG_UNWINDER_ORC
#include <asm/orc_lookup.h>
#include <asm/orc_types.h>

static_assert(sizeof(struct orc_entry) == 6);

#ifdef ORC_TYPE_UNDEFINED
const u32 klp_shim_table_format = 2;
#else
const u32 klp_shim_table_format = 1;
#endif

static void klp_core_table_init(void)
{
	u64 ip = klp_shim_lookup("__start_orc_unwind_ip");
	u64 ip_end = klp_shim_lookup("__stop_orc_unwind_ip");
	u64 index = klp_shim_lookup("orc_lookup");
	u64 index_end = klp_shim_lookup("orc_lookup_end");

	klp_shim_core_table.entries = klp_shim_lookup("__start_orc_unwind");
	if (!ip || ip_end < ip || !klp_shim_core_table.entries)
		return;
	klp_shim_core_table.ip = ip;
	klp_shim_core_table.count = (ip_end - ip) / sizeof(int);
	if (index && index_end > index) {
		klp_shim_core_table.index = index;
		klp_shim_core_table.index_count = (index_end - index) / sizeof(unsigned int);
		klp_shim_core_table.index_start = klp_shim_text.core.start;
		klp_shim_core_table.index_block = LOOKUP_BLOCK_SIZE;
	}
}

bool klp_shim_module_table(u64 pc, struct klp_table *table)
{
	const struct module *mod = static_call(klp_module_text)(pc);

	if (!mod || !mod->arch.num_orcs)
		return false;
	*table = (struct klp_table) {
		.ip = (u64)mod->arch.orc_unwind_ip,
		.entries = (u64)mod->arch.orc_unwind,
		.count = mod->arch.num_orcs,
	};
	return true;
}
#else
#ifdef KLP_NO_UNWIND_INFO
/* Tables, of which there are none: no walk is reliable. */
const u32 klp_shim_table_format = 1;
#else
const u32 klp_shim_table_format;
#endif

static void klp_core_table_init(void)
{
}

bool klp_shim_module_table(u64 pc, struct klp_table *table)
{
	return false;
}
#endif

static struct klp_range klp_between(const char *first, const char *behind)
{
	u64 start = klp_shim_lookup(first), end = klp_shim_lookup(behind);

	return start && end > start ? (struct klp_range) { start, end - start } : (struct klp_range) { 0 };
}

static struct klp_range klp_function(u64 addr)
{
	return addr ? (struct klp_range) { addr, klp_shim_function_size(addr) } : (struct klp_range) { U64_MAX };
}

/* Labels inside end a trampoline for kallsyms; on x86 there is one near the end of the last. */
static struct klp_range klp_trampolines(const char *first, const char *last)
{
	struct klp_range range = klp_between(first, last);

	if (range.size)
		range.size += klp_shim_function_size(range.start + range.size);
	return range;
}

/* The range with these bounds; if the kernel does not have them, with the first of the architecture's that it has. */
static struct klp_range klp_first_of(struct klp_range (*find)(const char *first, const char *behind),
				     const char *first, const char *behind, const char *const (*bounds)[2])
{
	struct klp_range range = find(first, behind);

	for (; !range.size && (*bounds)[0]; bounds++)
		range = find((*bounds)[0], (*bounds)[1]);
	return range;
}

/* What else is not found makes walks unreliable, and each of them says so. */
int klp_shim_text_init(void)
{
	u64 addr, module_text, is_text;

	if (!klp_shim_resolve("__module_text_address", &module_text) || !klp_shim_resolve("kernel_text_address", &is_text))
		return -ENOENT;
	static_call_update(klp_module_text, (void *)(unsigned long)module_text);
	static_call_update(klp_is_text, (void *)(unsigned long)is_text);

	klp_shim_text.core = klp_between("_stext", "_etext");
	klp_shim_text.init = klp_between("_sinittext", "_einittext");
	klp_shim_text.entry = klp_first_of(klp_between, "__entry_text_start", "__entry_text_end", klp_rs_entry_text);
	klp_shim_text.head = klp_between("_start", "_stext");
	klp_shim_text.graph = klp_function(klp_shim_lookup("return_to_handler"));
	klp_shim_text.probe = klp_function(klp_shim_return_probe);
	klp_shim_text.ftrace[0] = klp_first_of(klp_trampolines, "ftrace_caller", "ftrace_regs_caller_end", klp_rs_ftrace_text);
	if (!klp_shim_text.ftrace[0].size)
		klp_shim_text.ftrace[0] = klp_function(klp_shim_lookup("ftrace_caller"));
	klp_shim_text.ftrace[1] = klp_function(klp_shim_lookup("ftrace_regs_caller"));
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	addr = klp_shim_lookup("ftrace_graph_get_ret_stack");
	if (addr)
		static_call_update(klp_graph_frame, (void *)(unsigned long)addr);
	klp_have_graph_frame = addr;
#else
	(void)addr;
#endif
	klp_core_table_init();
	return 0;
}

bool klp_shim_is_module_text(u64 pc, struct klp_range *text)
{
	const struct module *mod = static_call(klp_module_text)(pc);

	if (!mod)
		return false;
#ifdef KLP_HAVE_MODULE_MEM
	text->start = (u64)mod->mem[MOD_TEXT].base;
	text->size = mod->mem[MOD_TEXT].size;
#else
	text->start = (u64)mod->core_layout.base;
	text->size = mod->core_layout.text_size;
#endif
	/* Or in its initialisation code. */
	if (pc - text->start >= text->size) {
		text->start = pc;
		text->size = 1;
	}
	return true;
}

bool klp_shim_is_generated_text(u64 pc)
{
	return static_call(klp_is_text)(pc);
}

static u64 klp_graph_return(struct task_struct *task, size_t nth)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	const struct ftrace_ret_stack *frame;

	if (!task->ret_stack || !klp_have_graph_frame || nth > INT_MAX)
		return 0;
	frame = static_call(klp_graph_frame)(task, nth);
	return frame ? frame->ret : 0;
#else
	return 0;
#endif
}

static u64 klp_probe_return(struct task_struct *task, size_t nth)
{
	struct llist_node *node __maybe_unused;

	/* Two lists on some kernels, of which only one is ever used. */
#ifdef CONFIG_RETHOOK
	for (node = task->rethooks.first; node; node = node->next) {
		if (!nth--)
			return llist_entry(node, struct rethook_node, llist)->ret_addr;
	}
#endif
#if defined(CONFIG_KRETPROBES) && !defined(CONFIG_KRETPROBE_ON_RETHOOK)
	for (node = task->kretprobe_instances.first; node; node = node->next) {
		if (!nth--)
			return (u64)llist_entry(node, struct kretprobe_instance, llist)->ret_addr;
	}
#endif
	return 0;
}

u64 klp_shim_pending_return(struct task_struct *task, unsigned int keeper, size_t nth)
{
	return keeper ? klp_probe_return(task, nth) : klp_graph_return(task, nth);
}
