// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Writing the text and the read-only data of modules.
 *
 * They are written through a second mapping of their pages, which is there for as long as the write takes: what arm64's
 * patch_map() and powerpc's text_poke_area do, with functions that every kernel exports. An instruction that CPUs execute
 * meanwhile is replaced by one store, as wide as what changes; where the architecture does not permit that
 * (KLP_WRITE_BY_BREAKPOINT in its shim.h), by the kernel's breakpoint protocol.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/static_call.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <asm/cacheflush.h>

#include "shim.h"

const size_t klp_shim_page_size = PAGE_SIZE;

#ifdef KLP_WRITE_BY_BREAKPOINT
DEFINE_STATIC_CALL_NULL(klp_text_poke, *(void (*)(void *, const void *, size_t, const void *))NULL);
static struct mutex *klp_text_mutex;

/* Without them no instruction of a live site is written; nothing else misses them. */
void klp_shim_patch_text_init(void)
{
	u64 poke = klp_shim_lookup("text_poke_bp") ?: klp_shim_lookup("smp_text_poke_single");

	if (!poke)
		return;
	static_call_update(klp_text_poke, (void *)(unsigned long)poke);
	klp_text_mutex = (struct mutex *)(unsigned long)klp_shim_lookup("text_mutex");
}
#else
void klp_shim_patch_text_init(void)
{
}
#endif

void *klp_shim_page_map(u64 addr)
{
	struct page *page = vmalloc_to_page((void *)(unsigned long)addr);

	return page ? vmap(&page, 1, VM_MAP, PAGE_KERNEL) : NULL;
}

void klp_shim_page_unmap(const void *mapped)
{
	vunmap(mapped);
}

void klp_shim_text_written(u64 addr, size_t size)
{
	flush_icache_range(addr, addr + size);
}

int klp_shim_write_text(u64 addr, const void *from, size_t size)
{
	u64 at = addr;
	size_t left = size;

	while (left) {
		size_t in_page = at & ~PAGE_MASK;
		size_t part = min_t(size_t, left, PAGE_SIZE - in_page);
		void *mapped = klp_shim_page_map(at);

		if (!mapped)
			return -ENOMEM;
		memcpy(mapped + in_page, from, part);
		klp_shim_page_unmap(mapped);
		at += part;
		from += part;
		left -= part;
	}
	klp_shim_text_written(addr, size);
	return 0;
}

/* One store, which no CPU sees half of. */
static int klp_store(u64 addr, const void *from, size_t size)
{
	void *mapped, *to;

	if (addr % size)
		return -EINVAL;
	mapped = klp_shim_page_map(addr);
	if (!mapped)
		return -ENOMEM;
	to = mapped + (addr & ~PAGE_MASK);
	switch (size) {
	case 1:
		WRITE_ONCE(*(u8 *)to, *(const u8 *)from);
		break;
	case 2:
		WRITE_ONCE(*(u16 *)to, *(const u16 *)from);
		break;
	case 4:
		WRITE_ONCE(*(u32 *)to, *(const u32 *)from);
		break;
	default:
		WRITE_ONCE(*(u64 *)to, *(const u64 *)from);
		break;
	}
	klp_shim_page_unmap(mapped);
	return 0;
}

int klp_shim_write_literal(u64 addr, u64 value)
{
	return klp_store(addr, &value, sizeof(value));
}

int klp_shim_write_live(u64 addr, const void *code, size_t size)
{
#ifdef KLP_WRITE_BY_BREAKPOINT
	if (!klp_text_mutex)
		return -EOPNOTSUPP;
	mutex_lock(klp_text_mutex);
	static_call(klp_text_poke)((void *)(unsigned long)addr, code, size, NULL);
	mutex_unlock(klp_text_mutex);
	return 0;
#else
	int ret;

	if (size != 1 && size != 2 && size != 4)
		return -EINVAL;
	ret = klp_store(addr, code, size);
	if (ret)
		return ret;
	klp_shim_text_written(addr, size);
	/* Every CPU takes an interrupt, and what it has fetched before is gone. */
	kick_all_cpus_sync();
	return 0;
#endif
}
