// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Modules that come and go, and what a patch module is. */
#include <linux/module.h>
#include <linux/notifier.h>

#include "shim.h"

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
