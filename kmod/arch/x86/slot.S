/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Thunks on x86_64. Entered by a slot's jump with everything else as at a call: the caller's return address is
 * on the stack, %rdi, %rsi, %rdx, %rcx, %r8, %r9 and, for variadic functions, %rax hold arguments (psABI 3.2.3); %r11 is free.
 * The block of registers is as slot.c has it.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/orc_types.h>
#include <asm/unwind_hints.h>

/* KLP_THUNKS of slot.c, which is C. */
#define THUNKS 64

#define PC	0
#define SP	8
#define RA	16
#define ARGS	24
#define SIZE	80

	.text
	.balign	16
/* No landing pads: direct jumps are not tracked. No function to objtool: its stack at the end is not that of a return. */
SYM_START(klp_thunks, SYM_L_GLOBAL, SYM_A_NONE)
	ANNOTATE_NOENDBR
	.set	index, 0
	.rept	THUNKS
	UNWIND_HINT_FUNC
	mov	$index, %r11d
	jmp	klp_thunk_common
	.balign	16, 0xcc
	.set	index, index + 1
	.endr
SYM_INNER_LABEL(klp_thunk_common, SYM_L_GLOBAL)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	sub	$SIZE, %rsp
	mov	%rax, ARGS(%rsp)
	mov	%rdi, ARGS + 8(%rsp)
	mov	%rsi, ARGS + 16(%rsp)
	mov	%rdx, ARGS + 24(%rsp)
	mov	%rcx, ARGS + 32(%rsp)
	mov	%r8, ARGS + 40(%rsp)
	mov	%r9, ARGS + 48(%rsp)
	lea	SIZE(%rsp), %rax
	mov	%rax, SP(%rsp)
	mov	SIZE(%rsp), %rax
	mov	%rax, RA(%rsp)
	mov	%r11d, %edi
	mov	%rsp, %rsi
	call	klp_thunk_handler
	mov	ARGS(%rsp), %rax
	mov	ARGS + 8(%rsp), %rdi
	mov	ARGS + 16(%rsp), %rsi
	mov	ARGS + 24(%rsp), %rdx
	mov	ARGS + 32(%rsp), %rcx
	mov	ARGS + 40(%rsp), %r8
	mov	ARGS + 48(%rsp), %r9
	mov	PC(%rsp), %r11
	add	$SIZE, %rsp
	/* No jump: what it goes to need not be a landing pad, and the kernel sees to it that returns are not predicted by others. */
	push	%r11
	RET
SYM_INNER_LABEL(klp_thunks_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	int3
SYM_CODE_END(klp_thunks)
