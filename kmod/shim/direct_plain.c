// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Direct calls where the site leaves the caller's return address where it was, and puts the resume address into a register that is
 * nobody's at a call: the replacement itself can be called.
 *
 * s390: the site's `brcl` leads to ftrace's hotpatch trampoline, which puts it into r0 and branches (arch/s390/kernel/mcount.S;
 * ELF ABI, "Registers"). riscv: the site's `jalr` links to t0 (arch/riscv/include/asm/ftrace.h; psABI, "Integer Register
 * Convention").
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
