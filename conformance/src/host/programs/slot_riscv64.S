# SPDX-License-Identifier: GPL-2.0-only OR MIT
# slot.c on riscv64. Registers by number; x5 to x31 are compared, but for t1 (x6) and t3 (x28), the slot's.
	.macro	all op, base
	\op	x5, 40(\base)
	.irp	n, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31
	\op	x\n, 8 * \n(\base)
	.endr
	.endm

	.macro	saved op
	\op	ra, 0(sp)
	\op	s0, 8(sp)
	\op	s1, 16(sp)
	.irp	n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	\op	s\n, 8 + 8 * \n(sp)
	.endr
	.endm

	.text
	.globl	_start
# The linker makes addresses relative to gp.
_start:	.option	push
	.option	norelax
	la	gp, __global_pointer$
	.option	pop
	li	s0, 0
	tail	start

	.globl	probe
probe:	addi	sp, sp, -112
	saved	sd
	sd	a1, 104(sp)
	mv	t1, a2
	mv	t3, a0
	all	ld, t3
	jalr	t1
	ld	t3, 104(sp)
	all	sd, t3
	saved	ld
	addi	sp, sp, 112
	ret

	.globl	syscall6
syscall6:
	mv	a7, a0
	mv	a0, a1
	mv	a1, a2
	mv	a2, a3
	mv	a3, a4
	mv	a4, a5
	mv	a5, a6
	ecall
	ret

# What gcc makes of __builtin___clear_cache(), a function of the C library's.
	.globl	__riscv_flush_icache
__riscv_flush_icache:
	li	a7, 259			# riscv_flush_icache
	ecall
	ret

	.section .rodata
	.balign	8
	.globl	functions, kept, target_in, restored, nr_write, nr_exit, nr_mmap, nr_fork, exec_flags
functions:	.quad	f0, f1
kept:		.quad	0xefffffa0
target_in:	.quad	-1
restored:	.quad	-1
nr_write:	.quad	64
nr_exit:	.quad	94
nr_mmap:	.quad	222
nr_fork:	.quad	220		# clone, with SIGCHLD
exec_flags:	.quad	0

# Far away from what it refers to: an absolute address, which is below 2 GiB.
	.macro	function name, number
\name:	lui	t3, %hi(seen)
	addi	t3, t3, %lo(seen)
	all	sd, t3
	li	t1, \number
	sd	t1, 41 * 8(t3)
	ret
	.endm

	.section .far0, "ax"
	.balign	8
	function f0, 0
	.section .far1, "ax"
	.balign	8
	function f1, 1
