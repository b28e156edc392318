/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Thunks on riscv64. Entered by a slot's `jr t3` with everything else as at a call: ra is the caller's return address, a0 to a7 hold
 * arguments, t0 to t6 are free (psABI, "Integer Register Convention"). The block of registers is as slot.c has it.
 */
#include <linux/linkage.h>

/* KLP_THUNKS of slot.c, which is C. */
#define THUNKS 64

#define PC	0
#define SP	8
#define RA	16
#define ARGS	24
/* Below the frame's end: the caller's s0 and return address. */
#define FRAME	96
#define SIZE	112

	.text
	.balign	16
	.option	push
	/* All of one length. */
	.option	norvc
SYM_CODE_START(klp_thunks)
	.set	index, 0
	.rept	THUNKS
	li	t1, index
	j	klp_thunk_common
	.set	index, index + 1
	.endr
	.option	pop
SYM_INNER_LABEL(klp_thunk_common, SYM_L_GLOBAL)
	addi	sp, sp, -SIZE
	sd	s0, FRAME(sp)
	sd	ra, FRAME + 8(sp)
	addi	s0, sp, SIZE
	sd	s0, SP(sp)
	sd	ra, RA(sp)
	sd	a0, ARGS(sp)
	sd	a1, ARGS + 8(sp)
	sd	a2, ARGS + 16(sp)
	sd	a3, ARGS + 24(sp)
	sd	a4, ARGS + 32(sp)
	sd	a5, ARGS + 40(sp)
	sd	a6, ARGS + 48(sp)
	sd	a7, ARGS + 56(sp)
	mv	a0, t1
	mv	a1, sp
	call	klp_thunk_handler
	ld	a0, ARGS(sp)
	ld	a1, ARGS + 8(sp)
	ld	a2, ARGS + 16(sp)
	ld	a3, ARGS + 24(sp)
	ld	a4, ARGS + 32(sp)
	ld	a5, ARGS + 40(sp)
	ld	a6, ARGS + 48(sp)
	ld	a7, ARGS + 56(sp)
	ld	t3, PC(sp)
	ld	ra, RA(sp)
	ld	s0, FRAME(sp)
	addi	sp, sp, SIZE
	jr	t3
SYM_INNER_LABEL(klp_thunks_end, SYM_L_GLOBAL)
SYM_CODE_END(klp_thunks)
