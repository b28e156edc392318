# SPDX-License-Identifier: GPL-2.0-only OR MIT
# slot.c on ppc64. Registers by number; r2 to r10 and r14 to r31 are compared. r2 is another one in the far functions, as in
# code with another TOC, so the instruction behind the call puts it back.
	.abiversion 2
	.macro	rest op, base
	\op	3, 24(\base)
	\op	4, 32(\base)
	\op	5, 40(\base)
	\op	6, 48(\base)
	\op	7, 56(\base)
	\op	8, 64(\base)
	\op	9, 72(\base)
	\op	10, 80(\base)
	saved	\op, \base, 112
	.endm

	.macro	saved op, base, offset
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
	\op	14 + \n, \offset + 8 * \n(\base)
	.endr
	.endm

	.text
	.globl	_start
	.type	_start, @function
_start:
0:	addis	2, 12, .TOC.-0b@ha
	addi	2, 2, .TOC.-0b@l
	stdu	1, -128(1)
	bl	start
	nop

	.globl	probe
	.type	probe, @function
probe:	mflr	0
	std	0, 16(1)
	stdu	1, -272(1)
	std	4, 96(1)
	std	2, 104(1)
	saved	std, 1, 112
	mr	12, 5
	mtctr	12
	mr	11, 3
	ld	0, 320(11)
	std	0, 24(1)
	ld	2, 16(11)
	rest	ld, 11
	bctrl
	ld	0, 24(1)
	ld	2, 24(1)
	ld	11, 96(1)
	std	0, 320(11)
	std	2, 16(11)
	rest	std, 11
	ld	2, 104(1)
	saved	ld, 1, 112
	addi	1, 1, 272
	ld	0, 16(1)
	mtlr	0
	blr

	.globl	syscall6
	.type	syscall6, @function
syscall6:
	mr	0, 3
	mr	3, 4
	mr	4, 5
	mr	5, 6
	mr	6, 7
	mr	7, 8
	mr	8, 9
	sc
	bnslr
	neg	3, 3
	blr

	.section .rodata
	.balign	8
	.globl	functions, kept, target_in, restored, nr_write, nr_exit, nr_mmap, nr_fork, exec_flags
functions:	.quad	f0, f1
kept:		.quad	0xffffc7fc
target_in:	.quad	12
restored:	.quad	2
nr_write:	.quad	4
nr_exit:	.quad	234
nr_mmap:	.quad	90
nr_fork:	.quad	2
exec_flags:	.quad	0

	.macro	function name, number
\name:	lis	11, seen@h
	ori	11, 11, seen@l
	std	2, 16(11)
	std	12, 96(11)
	rest	std, 11
	li	0, \number
	std	0, 41 * 8(11)
	li	2, 0x777
	blr
	.endm

	.section .far0, "ax"
	.balign	8
	function f0, 0
	.section .far1, "ax"
	.balign	8
	function f1, 1
	.section .note.GNU-stack, "", @progbits
