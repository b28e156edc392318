// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Direct calls on s390: the site's `brcl` leads to ftrace's hotpatch trampoline, which puts the resume address into r0 and
 * branches (arch/s390/kernel/mcount.S). r0 is nobody's at a call (ELF ABI, "Registers"), r14 is still the caller's return
 * address: the replacement itself can be called.
 */
#include "hook.h"

unsigned long klp_direct_stub(unsigned int place, unsigned long target)
{
	return target;
}

struct klp_range klp_direct_stubs(void)
{
	return (struct klp_range){ };
}
