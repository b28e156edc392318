// SPDX-License-Identifier: GPL-2.0-only OR MIT
// slot.c on riscv64. Registers by number; all but zero, ra, sp and t1 (the slot's) are compared.
	.option	norelax
	.option	arch, +zifencei

	.macro	each op, base, registers:vararg
	.irp	n, \registers
	\op	x\n, \n * 8(\base)
	.endr
	.endm

	// All that are compared, save t6.
	.macro	all op, base
	each	\op, \base, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	.endm

	// Those that belong to the caller.
	.macro	saved op
	each	\op, sp, 1, 3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
	.endm

	.text
	.globl	_start
	// What the linker relaxes counts from gp (psABI, "Global-pointer Relaxation").
_start:	la	gp, __global_pointer$
	li	s0, 0
	j	start

	.globl	probe
probe:	addi	sp, sp, -256
	saved	sd
	sd	a1, 0(sp)
	mv	t1, a2
	mv	t6, a0
	all	ld, t6
	ld	t6, 31 * 8(t6)
	jalr	t1
	ld	t1, 0(sp)
	all	sd, t1
	sd	t6, 31 * 8(t1)
	saved	ld
	addi	sp, sp, 256
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

	// What __builtin___clear_cache() calls.
	.globl	__riscv_flush_icache
__riscv_flush_icache:
	fence.i
	ret

	.section .rodata
	.balign	8
	.globl	functions, kept, target_in, restored, nr_write, nr_exit, nr_mmap, nr_fork, exec_flags
functions:	.quad	f0, f1
kept:		.quad	0xffffffb8
target_in:	.quad	-1
restored:	.quad	-1
nr_write:	.quad	64
nr_exit:	.quad	94
nr_mmap:	.quad	222
nr_fork:	.quad	220		// clone, with SIGCHLD
exec_flags:	.quad	0

	.macro	function name, number
\name:	ld	t1, 1f
	all	sd, t1
	sd	t6, 31 * 8(t1)
	li	t6, \number
	sd	t6, 41 * 8(t1)
	ld	t6, 31 * 8(t1)
	ret
	.balign	8
1:	.quad	seen
	.endm

	.section .far0, "ax"
	function f0, 0
	.section .far1, "ax"
	function f1, 1
