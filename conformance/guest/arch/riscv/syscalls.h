/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* riscv64: system calls of programs without a C library. ../README.md says what each is. */
enum { OPENAT = 56, CLOSE = 57, READ = 63, WRITE = 64, PPOLL = 73, EXIT_GROUP = 94, DELETE_MODULE = 106, PTRACE = 117, CLONE = 220,
       WAIT4 = 260, FINIT_MODULE = 273 };

/* The linker makes addresses relative to gp. */
asm(".globl _start\n_start: .option push; .option norelax; la gp, __global_pointer$; .option pop; mv a0, sp; call start");

static inline long call(long number, long a, long b, long c, long d)
{
	register long a7 asm("a7") = number;
	register long a0 asm("a0") = a;
	register long a1 asm("a1") = b;
	register long a2 asm("a2") = c;
	register long a3 asm("a3") = d;

	asm volatile("ecall" : "+r" (a0) : "r" (a7), "r" (a1), "r" (a2), "r" (a3) : "memory");
	return a0;
}

static inline long start_sleeper(void)
{
	register long a7 asm("a7") = CLONE;
	register long a0 asm("a0") = THREAD;
	register long a1 asm("a1") = 0;

	asm volatile("ecall; bnez a0, 2f;"
		     "1: li a7, %[ppoll]; li a0, 0; li a1, 0; li a2, 0; li a3, 0; ecall; j 1b; 2:"
		     : "+r" (a0)
		     : "r" (a7), "r" (a1), [ppoll] "i" (PPOLL)
		     : "a2", "a3", "memory");
	return a0;
}
