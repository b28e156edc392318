/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* riscv64: code of test modules. ../README.md says what each is. */

#define TEST_CLOBBER()	\
	asm volatile("li a1, -1; mv a2, a1; mv a3, a1; mv a4, a1; mv a5, a1; mv a6, a1; mv a7, a1;" \
		     "mv t0, a1; mv t1, a1; mv t2, a1; mv t3, a1; mv t4, a1; mv t5, a1; mv t6, a1" \
		     : : : "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6")

#define TEST_INSN_ALIGN 2

static inline unsigned long test_call_destination(const u8 *at)
{
	u32 auipc, jalr;

	memcpy(&auipc, at, sizeof(auipc));
	memcpy(&jalr, at + 4, sizeof(jalr));
	/* auipc ra; jalr ra, ra */
	if ((auipc & 0xfff) != 0x097 || (jalr & 0xfffff) != 0x080e7)
		return 0;
	return (unsigned long)at + (s32)(auipc & 0xfffff000) + ((s32)jalr >> 20);
}

#define TEST_DIRECT_STUB "	jr	t0\n"
