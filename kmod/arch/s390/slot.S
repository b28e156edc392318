/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Thunks on s390. Entered by a slot's branch to %r1 with everything else as at a call: %r14 is the caller's return address, %r2
 * to %r6 hold arguments, %r0 and %r1 are free (ELF ABI, "Registers"). The block of registers is as slot.c has it.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/nospec-insn.h>
#include <asm/ptrace.h>

/* KLP_THUNKS of slot.c, which is C. */
#define THUNKS 64

#define PC	(STACK_FRAME_OVERHEAD + 0)
#define SP	(STACK_FRAME_OVERHEAD + 8)
#define RA	(STACK_FRAME_OVERHEAD + 16)
#define ARGS	(STACK_FRAME_OVERHEAD + 24)
#define SIZE	(STACK_FRAME_OVERHEAD + 64)

	GEN_BR_THUNK %r1

	.text
	.balign	16
	.globl	klp_thunks
	.type	klp_thunks, @function
klp_thunks:
	.set	index, 0
	.rept	THUNKS
	lhi	%r0, index
	jg	klp_thunk_common
	.balign	16, 0x07
	.set	index, index + 1
	.endr
	.globl	klp_thunk_common
klp_thunk_common:
	lgr	%r1, %r15
	aghi	%r15, -SIZE
	stg	%r1, __SF_BACKCHAIN(%r15)
	stg	%r1, SP(%r15)
	stg	%r14, RA(%r15)
	stmg	%r2, %r6, ARGS(%r15)
	llgfr	%r2, %r0
	la	%r3, PC(%r15)
	brasl	%r14, klp_thunk_handler
	lg	%r1, PC(%r15)
	lg	%r14, RA(%r15)
	lmg	%r2, %r6, ARGS(%r15)
	la	%r15, SIZE(%r15)
	BR_EX	%r1
	.globl	klp_thunks_end
klp_thunks_end:
	.size	klp_thunks, . - klp_thunks
