/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* x86_64: code of test modules. ../README.md says what each is. */

#define TEST_CLOBBER()	\
	asm volatile("mov $-1, %%rcx; mov %%rcx, %%rdx; mov %%rcx, %%rsi; mov %%rcx, %%r8; mov %%rcx, %%r9;" \
		     "mov %%rcx, %%r10; mov %%rcx, %%r11" : : : "cx", "dx", "si", "r8", "r9", "r10", "r11")

#define TEST_INSN_ALIGN 1

static inline unsigned long test_call_destination(const u8 *at)
{
	return *at == 0xe8 ? (unsigned long)at + 5 + *(const s32 *)(at + 1) : 0;
}

#define TEST_DIRECT_STUB \
	ASM_ENDBR \
	ASM_RET
