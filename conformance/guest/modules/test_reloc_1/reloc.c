// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Its replacements call functions that are not exported, of vmlinux and of a module, and say by which way the calls go. With
 * WITH_DATA (test_reloc_2, the same file) they read variables, too.
 */
#include <linux/init.h>
#include <linux/kallsyms.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/string.h>

#include <test.h>

int reloc_hidden(int value);
KLP_RELOC_SYMBOL(test_reloc_target, reloc_hidden, 0);

/* The patch's own name for it. */
extern int hidden_data;
KLP_RELOC_SYMBOL_AS(hidden_data, test_reloc_target, reloc_hidden_data, 0);

/* Whether a function of ours calls `target` directly, or something else of ours in its place. */
static const char *way(void *function, void *target)
{
	const u8 *at = dereference_function_descriptor(function);
	const u8 *end = at + 64;

	for (; at < end; at += TEST_INSN_ALIGN) {
		unsigned long to = test_call_destination(at);

		if (to == (unsigned long)target)
			return "direct";
		if (to && within_module(to, THIS_MODULE))
			return "slot";
	}
	return "nowhere";
}

static __attribute__((noipa)) unsigned long call_vmlinux(const char *name)
{
	return kallsyms_lookup_name(name) + 1;
}

static __attribute__((noipa)) int call_module(int value)
{
	return reloc_hidden(value) + 1;
}

/* The function that finds addresses finds itself where it was found. */
static int new_cmdline_show(struct seq_file *m, void *v)
{
	unsigned long self = (unsigned long)kallsyms_lookup_name;

	seq_printf(m, "%s by %s", call_vmlinux("kallsyms_lookup_name") == self + 1 ? "found" : "wrong",
		   way(call_vmlinux, kallsyms_lookup_name));
#ifdef WITH_DATA
	seq_printf(m, " %s", saved_command_line);
#endif
	seq_putc(m, '\n');
	return 0;
}

static int new_reloc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d by %s", call_module(100), way(call_module, reloc_hidden));
#ifdef WITH_DATA
	seq_printf(m, " %d", hidden_data);
#endif
	seq_putc(m, '\n');
	return 0;
}

static struct klp_func vmlinux_funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = new_cmdline_show },
	{ }
};

static struct klp_func module_funcs[] = {
	{ .old_name = "reloc_show", .new_func = new_reloc_show },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = vmlinux_funcs },
	{ .name = "test_reloc_target", .funcs = module_funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static unsigned int flags;
module_param(flags, uint, 0);
MODULE_PARM_DESC(flags, "klp_patch.flags");

static int __init patch_init(void)
{
	patch.flags = flags;
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: calls of what is not exported");
MODULE_INFO(livepatch, "Y");
