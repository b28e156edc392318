// SPDX-License-Identifier: GPL-2.0-only OR MIT
// slot.c on x86_64. Registers in the order of their numbers; all but r11 (the slot's) and rsp are compared.
	.macro	store base
	mov	%rax, 0(\base)
	mov	%rcx, 8(\base)
	mov	%rdx, 16(\base)
	mov	%rbx, 24(\base)
	mov	%rbp, 40(\base)
	mov	%rsi, 48(\base)
	mov	%rdi, 56(\base)
	mov	%r8, 64(\base)
	mov	%r9, 72(\base)
	mov	%r10, 80(\base)
	mov	%r12, 96(\base)
	mov	%r13, 104(\base)
	mov	%r14, 112(\base)
	mov	%r15, 120(\base)
	.endm

	.text
	.globl	_start
_start:	xor	%ebp, %ebp
	call	start

	.globl	probe
probe:	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rsi
	mov	%rdx, %r11
	mov	0(%rdi), %rax
	mov	8(%rdi), %rcx
	mov	16(%rdi), %rdx
	mov	24(%rdi), %rbx
	mov	40(%rdi), %rbp
	mov	48(%rdi), %rsi
	mov	64(%rdi), %r8
	mov	72(%rdi), %r9
	mov	80(%rdi), %r10
	mov	96(%rdi), %r12
	mov	104(%rdi), %r13
	mov	112(%rdi), %r14
	mov	120(%rdi), %r15
	mov	56(%rdi), %rdi
	call	*%r11
	mov	(%rsp), %r11
	store	%r11
	pop	%rsi
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.globl	syscall6
syscall6:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	ret

	.section .rodata
	.balign	8
	.globl	functions, kept, target_in, restored, nr_write, nr_exit, nr_mmap, nr_fork, exec_flags
functions:	.quad	f0, f1
kept:		.quad	0xf7ef
target_in:	.quad	-1
restored:	.quad	-1
nr_write:	.quad	1
nr_exit:	.quad	231
nr_mmap:	.quad	9
nr_fork:	.quad	57
exec_flags:	.quad	0

	.macro	function name, number
\name:	movabs	$seen, %r11
	store	%r11
	movq	$\number, 41 * 8(%r11)
	ret
	.endm

	.section .far0, "ax"
	function f0, 0
	.section .far1, "ax"
	function f1, 1
	.section .note.GNU-stack, "", @progbits
