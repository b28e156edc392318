// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What shadow variables need of C: RCU, a spinlock, memory by the caller's flags, the kernel's words; and their exports. */
#define pr_fmt(fmt) "livepatch: " fmt

#include <linux/bug.h>
#include <linux/livepatch.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "shim.h"

/* Mirrored in src/shadow.rs. Data is aligned as the kernel's shadow variables are. */
struct klp_shadow {
	struct klp_shadow *next;
	void *obj;
	unsigned long id;
	struct rcu_head rcu;
	char data[];
};
static_assert(offsetof(struct klp_shadow, data) == 40);

static DEFINE_SPINLOCK(klp_shadow_lock);

void klp_shim_shadow_read_lock(void)
{
	rcu_read_lock();
}

void klp_shim_shadow_read_unlock(void)
{
	rcu_read_unlock();
}

unsigned long klp_shim_shadow_lock(void)
{
	unsigned long flags;

	spin_lock_irqsave(&klp_shadow_lock, flags);
	return flags;
}

void klp_shim_shadow_unlock(unsigned long flags)
{
	spin_unlock_irqrestore(&klp_shadow_lock, flags);
}

struct klp_shadow *klp_shim_shadow_new(size_t size, gfp_t gfp)
{
	struct klp_shadow *shadow;

	return kzalloc(struct_size(shadow, data, size), gfp);
}

void klp_shim_shadow_discard(struct klp_shadow *shadow)
{
	kfree(shadow);
}

void klp_shim_shadow_free(struct klp_shadow *shadow)
{
	kfree_rcu(shadow, rcu);
}

void klp_shim_shadow_exists(void *obj, unsigned long id)
{
	WARN(1, "Duplicate shadow variable <%p, %lx>\n", obj, id);
}

void klp_shim_shadow_not_constructed(void *obj, unsigned long id, int err)
{
	pr_err("Failed to construct shadow variable <%p, %lx> (%d)\n", obj, id, err);
}

void klp_shim_shadow_left(unsigned long id, size_t count)
{
	printk(KERN_WARNING "klp: %zu shadow variables with id %#lx were left by patches: freed, without destructor\n", count,
	       id);
}

void *klp_shadow_get(void *obj, unsigned long id)
{
	return klp_rs_shadow_get(obj, id);
}
EXPORT_SYMBOL_GPL(klp_shadow_get);

void *klp_shadow_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags, klp_shadow_ctor_t ctor,
		       void *ctor_data)
{
	return klp_rs_shadow_alloc(obj, id, size, gfp_flags, ctor, ctor_data, false);
}
EXPORT_SYMBOL_GPL(klp_shadow_alloc);

void *klp_shadow_get_or_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags, klp_shadow_ctor_t ctor,
			      void *ctor_data)
{
	return klp_rs_shadow_alloc(obj, id, size, gfp_flags, ctor, ctor_data, true);
}
EXPORT_SYMBOL_GPL(klp_shadow_get_or_alloc);

void klp_shadow_free(void *obj, unsigned long id, klp_shadow_dtor_t dtor)
{
	klp_rs_shadow_free(obj, id, dtor);
}
EXPORT_SYMBOL_GPL(klp_shadow_free);

void klp_shadow_free_all(unsigned long id, klp_shadow_dtor_t dtor)
{
	klp_rs_shadow_free_all(id, dtor);
}
EXPORT_SYMBOL_GPL(klp_shadow_free_all);

/* For patches in Rust: the numbers differ between kernels. */
gfp_t klp_sdk_gfp(bool may_sleep)
{
	return may_sleep ? GFP_KERNEL : GFP_ATOMIC;
}
EXPORT_SYMBOL_GPL(klp_sdk_gfp);
