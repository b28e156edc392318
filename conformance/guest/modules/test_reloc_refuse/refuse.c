// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A patch with one reference to a symbol that is not exported, and parameters that change what is recorded of it. */
#include <linux/compiler.h>
#include <linux/kallsyms.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static char *symbol = "kallsyms_lookup_name";
module_param(symbol, charp, 0400);
static char *object;
module_param(object, charp, 0400);
static unsigned long position;
module_param(position, ulong, 0400);
static int slots = -1;
module_param(slots, int, 0400);
static int type = -1;
module_param(type, int, 0400);
static unsigned long format = KLP_RELOCATIONS_FORMAT;
module_param(format, ulong, 0400);

static int new_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", kallsyms_lookup_name("kallsyms_lookup_name") != 0);
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = new_show },
	{ }
};

static struct klp_func no_funcs[] = { { } };

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ .name = "test_target", .funcs = no_funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

/* As klp_enable_patch() has it. */
static const struct klp_relocations recorded __section(".klp.relocations");

static int __init patch_init(void)
{
	const struct klp_relocations *filled_in = &recorded;
	struct klp_reloc_symbol changed_symbol;
	struct klp_relocations changed;
	struct klp_reloc relocs[4];

	/* The compiler knows what the build has yet to change. */
	OPTIMIZER_HIDE_VAR(filled_in);
	changed = *filled_in;
	if (changed.symbol_count != 1 || changed.reloc_count > ARRAY_SIZE(relocs) || changed.slot_count != 1)
		return -ERANGE;
	changed_symbol = changed.symbols[0];
	changed_symbol.name = symbol;
	changed_symbol.object = object;
	changed_symbol.position = position;
	changed.symbols = &changed_symbol;
	memcpy(relocs, changed.relocs, changed.reloc_count * sizeof(relocs[0]));
	if (type >= 0)
		relocs[0].type = type;
	changed.relocs = relocs;
	if (slots >= 0)
		changed.slot_count = slots;
	changed.format = format;
	return klp_sdk_enable_patch(&patch, &changed);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: references that are refused");
MODULE_INFO(livepatch, "Y");
