// SPDX-License-Identifier: GPL-2.0-only OR MIT
// slot.c on arm64. Registers by number; all but x16, x17 (the slot's), x30 and sp are compared.
	.macro	all op, base
	\op	x0, x1, [\base]
	\op	x2, x3, [\base, #16]
	\op	x4, x5, [\base, #32]
	\op	x6, x7, [\base, #48]
	\op	x8, x9, [\base, #64]
	\op	x10, x11, [\base, #80]
	\op	x12, x13, [\base, #96]
	\op	x14, x15, [\base, #112]
	\op	x18, x19, [\base, #144]
	\op	x20, x21, [\base, #160]
	\op	x22, x23, [\base, #176]
	\op	x24, x25, [\base, #192]
	\op	x26, x27, [\base, #208]
	\op	x28, x29, [\base, #224]
	.endm

	.text
	.globl	_start
_start:	mov	x29, #0
	b	start

	.globl	probe
probe:	stp	x29, x30, [sp, #-112]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	stp	x1, x18, [sp, #96]
	mov	x16, x2
	mov	x17, x0
	all	ldp, x17
	blr	x16
	ldr	x17, [sp, #96]
	all	stp, x17
	ldr	x18, [sp, #104]
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #112
	ret

	.globl	syscall6
syscall6:
	mov	x8, x0
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	mov	x4, x5
	mov	x5, x6
	svc	#0
	ret

	.section .rodata
	.balign	8
	.globl	functions, kept, target_in, restored, nr_write, nr_exit, nr_mmap, nr_fork, exec_flags
functions:	.quad	f0, f1
kept:		.quad	0x3ffcffff
target_in:	.quad	-1
restored:	.quad	-1
nr_write:	.quad	64
nr_exit:	.quad	94
nr_mmap:	.quad	222
nr_fork:	.quad	220		// clone, with SIGCHLD
exec_flags:	.quad	0x10		// PROT_BTI

	.macro	function name, number
\name:	bti	c
	ldr	x17, =seen
	all	stp, x17
	mov	x16, #\number
	str	x16, [x17, #41 * 8]
	ret
	.ltorg
	.endm

	.section .far0, "ax"
	.balign	8
	function f0, 0
	.section .far1, "ax"
	.balign	8
	function f1, 1
