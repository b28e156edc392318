// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Direct calls on arm64: the stubs are in direct_stub.S. One ends in a direct branch; where its target is out of reach, that
 * is a NOP, and the stub goes on to read the target from here.
 */
#include <linux/sizes.h>

#include "hook.h"

extern char klp_direct_stub_first[], klp_direct_stub_jump[], klp_direct_stub_end[];
unsigned long klp_direct_targets[KLP_DIRECT_PLACES];

/* `b`, or `nop` where it does not reach (Arm ARM, C6.2.26 and C6.2.238). */
static u32 klp_direct_jump(unsigned long from, unsigned long to)
{
	long distance = to - from;

	if (READ_ONCE(klp_shim_out_of_reach) || distance < -(long)SZ_128M || distance >= (long)SZ_128M)
		return 0xd503201f;
	return 0x14000000 | (distance >> 2 & 0x3ffffff);
}

unsigned long klp_direct_stub(unsigned int place, unsigned long target)
{
	size_t size = (klp_direct_stub_end - klp_direct_stub_first) / KLP_DIRECT_PLACES;
	unsigned long jump = (unsigned long)klp_direct_stub_jump + place * size;
	u32 code = klp_direct_jump(jump, target);

	WRITE_ONCE(klp_direct_targets[place], target);
	if (klp_shim_write_live(jump, &code, sizeof(code)))
		return 0;
	return (unsigned long)klp_direct_stub_first + place * size;
}

struct klp_range klp_direct_stubs(void)
{
	return (struct klp_range){
		.start = (u64)klp_direct_stub_first,
		.size = klp_direct_stub_end - klp_direct_stub_first,
	};
}
