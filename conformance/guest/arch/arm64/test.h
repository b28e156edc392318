/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* arm64: code of test modules. ../README.md says what each is. */

#define TEST_CLOBBER()	\
	asm volatile("mov x1, -1; mov x2, x1; mov x3, x1; mov x4, x1; mov x5, x1; mov x6, x1; mov x7, x1; mov x8, x1;" \
		     "mov x9, x1; mov x10, x1; mov x11, x1; mov x12, x1; mov x13, x1; mov x14, x1; mov x15, x1;" \
		     "mov x16, x1; mov x17, x1" \
		     : : : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", \
		     "x15", "x16", "x17")

#define TEST_INSN_ALIGN 4

static inline unsigned long test_call_destination(const u8 *at)
{
	u32 insn = *(const u32 *)at;

	return (insn & 0xfc000000) == 0x94000000 ? (unsigned long)at + 4 * (long)sign_extend32(insn, 25) : 0;
}

#define TEST_DIRECT_STUB \
	"	hint	#34\n" \
	"	mov	x10, x30\n" \
	"	mov	x30, x9\n" \
	"	ret	x10\n"
