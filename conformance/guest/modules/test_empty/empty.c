// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Says that it comes, and that it goes. */
#include <linux/module.h>

static int __init test_empty_init(void)
{
	pr_info("test_empty: loaded\n");
	return 0;
}

static void __exit test_empty_exit(void)
{
	pr_info("test_empty: unloaded\n");
}

module_init(test_empty_init);
module_exit(test_empty_exit);
MODULE_DESCRIPTION("A module that does nothing");
MODULE_LICENSE("Dual MIT/GPL");
