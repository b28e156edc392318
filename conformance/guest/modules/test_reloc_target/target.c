// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A module with a function and a variable that it does not export, and /proc/test_reloc_target, whose reader is patched. */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int reloc_hidden_data = 7;
module_param_named(data, reloc_hidden_data, int, 0600);

static __attribute__((noipa, used)) int reloc_hidden(int value)
{
	return value + reloc_hidden_data;
}

static __attribute__((noipa)) int reloc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "original %d\n", reloc_hidden(0));
	return 0;
}

static int __init target_init(void)
{
	return proc_create_single("test_reloc_target", 0444, NULL, reloc_show) ? 0 : -ENOMEM;
}

static void __exit target_exit(void)
{
	remove_proc_entry("test_reloc_target", NULL);
}

module_init(target_init);
module_exit(target_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: what is not exported");
