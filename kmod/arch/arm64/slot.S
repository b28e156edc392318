/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Thunks on arm64. Entered by a slot's `br x16` with everything else as at a call: x30 is the caller's return address, x0 to x8
 * hold arguments, x9 to x17 are free (AAPCS64 6.1.1). The block of registers is as slot.c has it.
 */
#include <linux/linkage.h>
#include <asm/assembler.h>

/* KLP_THUNKS of slot.c, which is C. */
#define THUNKS 64

#define RECORD	0
#define PC	16
#define SP	24
#define LR	32
#define ARGS	40
#define SIZE	112

	.text
	.balign	16
SYM_CODE_START(klp_thunks)
	.set	index, 0
	.rept	THUNKS
	hint	#34				// bti c
	mov	w17, #index
	b	klp_thunk_common
	nop
	.set	index, index + 1
	.endr
SYM_INNER_LABEL(klp_thunk_common, SYM_L_GLOBAL)
	mov	x9, sp
	sub	sp, sp, #SIZE
	stp	x29, x30, [sp, #RECORD]
	stp	x0, x1, [sp, #ARGS]
	stp	x2, x3, [sp, #ARGS + 16]
	stp	x4, x5, [sp, #ARGS + 32]
	stp	x6, x7, [sp, #ARGS + 48]
	str	x8, [sp, #ARGS + 64]
	str	x9, [sp, #SP]
	str	x30, [sp, #LR]
	mov	x29, sp
	mov	w0, w17
	add	x1, sp, #PC
	bl	klp_thunk_handler
	ldp	x0, x1, [sp, #ARGS]
	ldp	x2, x3, [sp, #ARGS + 16]
	ldp	x4, x5, [sp, #ARGS + 32]
	ldp	x6, x7, [sp, #ARGS + 48]
	ldr	x8, [sp, #ARGS + 64]
	ldr	x16, [sp, #PC]
	ldr	x30, [sp, #LR]
	ldr	x29, [sp, #RECORD]
	add	sp, sp, #SIZE
	/* No branch: what it goes to need not be a landing pad. */
	ret	x16
SYM_INNER_LABEL(klp_thunks_end, SYM_L_GLOBAL)
SYM_CODE_END(klp_thunks)
