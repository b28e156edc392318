// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What system states need of C: exports, and the kernel's warning. */
#include <linux/bug.h>
#include <linux/livepatch.h>

#include "shim.h"

struct klp_state *klp_get_state(struct klp_patch *patch, unsigned long id)
{
	return klp_rs_get_state(patch, id);
}
EXPORT_SYMBOL_GPL(klp_get_state);

struct klp_state *klp_get_prev_state(unsigned long id)
{
	struct klp_state *previous = NULL;

	WARN_ON_ONCE(!klp_rs_get_prev_state(id, &previous));
	return previous;
}
EXPORT_SYMBOL_GPL(klp_get_prev_state);
