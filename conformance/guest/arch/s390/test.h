/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* s390: code of test modules. ../README.md says what each is. */

#define TEST_CLOBBER()	\
	asm volatile("lghi 0, -1; lgr 1, 0; lgr 3, 0; lgr 4, 0; lgr 5, 0" : : : "0", "1", "3", "4", "5")

#define TEST_INSN_ALIGN 2

static inline unsigned long test_call_destination(const u8 *at)
{
	return at[0] == 0xc0 && at[1] == 0xe5 ? (unsigned long)at + 2 * (long)*(const s32 *)(at + 2) : 0;
}

#define TEST_DIRECT_STUB \
	"	lgr	%r1, %r0\n" \
	"	br	%r1\n"
