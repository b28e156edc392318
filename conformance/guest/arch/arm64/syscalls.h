/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* arm64: system calls of programs without a C library. ../README.md says what each is. */
enum { OPENAT = 56, CLOSE = 57, READ = 63, WRITE = 64, PPOLL = 73, EXIT_GROUP = 94, DELETE_MODULE = 106, PTRACE = 117, CLONE = 220,
       WAIT4 = 260, FINIT_MODULE = 273 };

asm(".globl _start\n_start: mov x0, sp; bl start");

static inline long call(long number, long a, long b, long c, long d)
{
	register long x8 asm("x8") = number;
	register long x0 asm("x0") = a;
	register long x1 asm("x1") = b;
	register long x2 asm("x2") = c;
	register long x3 asm("x3") = d;

	asm volatile("svc 0" : "+r" (x0) : "r" (x8), "r" (x1), "r" (x2), "r" (x3) : "memory");
	return x0;
}

static inline long start_sleeper(void)
{
	register long x8 asm("x8") = CLONE;
	register long x0 asm("x0") = THREAD;
	register long x1 asm("x1") = 0;

	asm volatile("svc 0; cbnz x0, 2f;"
		     "1: mov x8, %[ppoll]; mov x0, 0; mov x1, 0; mov x2, 0; mov x3, 0; svc 0; b 1b; 2:"
		     : "+r" (x0)
		     : "r" (x8), "r" (x1), [ppoll] "i" (PPOLL)
		     : "x2", "x3", "memory");
	return x0;
}
