// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Modules that come and go, and what a patch module is. */
#include <linux/list.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/slab.h>

#include "shim.h"

/* Modules that the engine has seen come, and whose init function has not returned. Under the engine's lock. */
struct klp_coming {
	struct list_head list;
	const struct module *mod;
};

static LIST_HEAD(klp_coming);

int klp_shim_module_comes(const struct module *mod)
{
	struct klp_coming *coming = kmalloc(sizeof(*coming), GFP_KERNEL);

	if (!coming)
		return -ENOMEM;
	coming->mod = mod;
	list_add(&coming->list, &klp_coming);
	return 0;
}

void klp_shim_module_came(const struct module *mod)
{
	struct klp_coming *coming, *next;

	list_for_each_entry_safe(coming, next, &klp_coming, list) {
		if (coming->mod == mod) {
			list_del(&coming->list);
			kfree(coming);
		}
	}
}

/*
 * As klp_alive of struct module: from the COMING notifier on. Between the state COMING and that notifier the module is not
 * loaded: the notifier, which waits for the engine's lock, does what is to be done.
 */
bool klp_shim_module_alive(const struct module *mod)
{
	const struct klp_coming *coming;

	if (READ_ONCE(mod->state) == MODULE_STATE_LIVE)
		return true;
	list_for_each_entry(coming, &klp_coming, list) {
		if (coming->mod == mod)
			return true;
	}
	return false;
}

static int klp_module_event(struct notifier_block *block, unsigned long event, void *data)
{
	struct module *mod = data;

	switch (event) {
	case MODULE_STATE_COMING:
		return notifier_from_errno(klp_rs_module_coming(mod->name));
	case MODULE_STATE_LIVE:
		klp_rs_module_live(mod->name);
		return NOTIFY_OK;
	case MODULE_STATE_GOING:
		klp_rs_module_going(mod->name);
		return NOTIFY_OK;
	default:
		return NOTIFY_DONE;
	}
}

/* After ftrace (INT_MAX) on the way in, before the rest of the kernel learns of the module. */
static struct notifier_block klp_module_notifier = {
	.notifier_call = klp_module_event,
	.priority = INT_MAX - 1,
};

int klp_shim_modules_init(void)
{
	return register_module_notifier(&klp_module_notifier);
}

void klp_shim_modules_exit(void)
{
	unregister_module_notifier(&klp_module_notifier);
}

void klp_shim_module_info(struct module *mod, struct klp_module *out)
{
#ifdef KLP_HAVE_MODULE_MEM
	const struct module_memory *text = &mod->mem[MOD_TEXT];

	out->text.start = (u64)text->base;
	out->text.size = text->size;
#else
	out->text.start = (u64)mod->core_layout.base;
	out->text.size = mod->core_layout.text_size;
#endif
	out->name = mod->name;
}

bool klp_shim_module_get(struct module *mod)
{
	return try_module_get(mod);
}

void klp_shim_module_put(struct module *mod)
{
	module_put(mod);
}
