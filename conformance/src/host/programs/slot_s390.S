# SPDX-License-Identifier: GPL-2.0-only OR MIT
# slot.c on s390. Registers by number; all but r0, r1 (a slot's), r14 and r15 are compared.
	.text
	.globl	_start
_start:	aghi	%r15, -160
	xc	0(8,%r15), 0(%r15)
	brasl	%r14, start

	.globl	probe
probe:	stmg	%r6, %r15, 48(%r15)
	aghi	%r15, -176
	stg	%r3, 160(%r15)
	lgr	%r1, %r4
	lmg	%r2, %r13, 16(%r2)
	basr	%r14, %r1
	lg	%r1, 160(%r15)
	stmg	%r2, %r13, 16(%r1)
	lmg	%r6, %r15, 176 + 48(%r15)
	br	%r14

# The seventh argument is on the stack.
	.globl	syscall6
syscall6:
	stmg	%r6, %r7, 48(%r15)
	lgr	%r1, %r2
	lgr	%r2, %r3
	lgr	%r3, %r4
	lgr	%r4, %r5
	lgr	%r5, %r6
	lg	%r6, 160(%r15)
	lg	%r7, 168(%r15)
	cghi	%r1, 90
	jne	0f
	# mmap takes its arguments from memory.
	aghi	%r15, -48
	stmg	%r2, %r7, 0(%r15)
	lgr	%r2, %r15
	svc	0
	aghi	%r15, 48
	j	1f
0:	svc	0
1:	lmg	%r6, %r7, 48(%r15)
	br	%r14

	.section .rodata
	.balign	8
	.globl	functions, kept, target_in, restored, nr_write, nr_exit, nr_mmap, nr_fork, exec_flags
functions:	.quad	f0, f1
kept:		.quad	0x3ffc
target_in:	.quad	-1
restored:	.quad	-1
nr_write:	.quad	4
nr_exit:	.quad	248
nr_mmap:	.quad	90
nr_fork:	.quad	2
exec_flags:	.quad	0

	.macro	function name, number
	.balign	8
\name:	lgrl	%r1, 0f
	stmg	%r2, %r15, 16(%r1)
	lghi	%r0, \number
	stg	%r0, 41 * 8(%r1)
	br	%r14
	.balign	8
0:	.quad	seen
	.endm

	.section .far0, "ax"
	function f0, 0
	.section .far1, "ax"
	function f1, 1
	.section .note.GNU-stack, "", @progbits
