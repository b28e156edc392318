/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* ppc64: code of test modules. ../README.md says what each is. */

#define TEST_CLOBBER()	\
	asm volatile("li 4, -1; mr 5, 4; mr 6, 4; mr 7, 4; mr 8, 4; mr 9, 4; mr 10, 4; mr 11, 4; mr 12, 4; mr 0, 4;" \
		     "mtctr 4" \
		     : : : "r0", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "ctr")

#define TEST_INSN_ALIGN 4

static inline unsigned long test_call_destination(const u8 *at)
{
	u32 insn = *(const u32 *)at;

	return (insn & 0xfc000003) == 0x48000001 ? (unsigned long)at + sign_extend32(insn & 0x03fffffc, 25) : 0;
}
