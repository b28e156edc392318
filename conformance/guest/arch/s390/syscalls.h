/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* s390: system calls of programs without a C library. ../README.md says what each is. */
enum { READ = 3, WRITE = 4, CLOSE = 6, PTRACE = 26, WAIT4 = 114, CLONE = 120, DELETE_MODULE = 129, EXIT_GROUP = 248, OPENAT = 288,
       PPOLL = 302, FINIT_MODULE = 344 };

asm(".globl _start\n_start: lgr %r2, %r15; aghi %r15, -160; xc 0(8, %r15), 0(%r15); brasl %r14, start");

static inline long call(long number, long a, long b, long c, long d)
{
	register long r1 asm("1") = number;
	register long r2 asm("2") = a;
	register long r3 asm("3") = b;
	register long r4 asm("4") = c;
	register long r5 asm("5") = d;

	asm volatile("svc 0" : "+d" (r2) : "d" (r1), "d" (r3), "d" (r4), "d" (r5) : "memory");
	return r2;
}

static inline long start_sleeper(void)
{
	register long r1 asm("1") = CLONE;
	/* Here the stack comes first. */
	register long r2 asm("2") = 0;
	register long r3 asm("3") = THREAD;

	asm volatile("svc 0; ltgr 2, 2; jnz 2f;"
		     "1: lghi 1, %[ppoll]; lghi 2, 0; lghi 3, 0; lghi 4, 0; lghi 5, 0; svc 0; j 1b; 2:"
		     : "+d" (r1), "+d" (r2), "+d" (r3)
		     : [ppoll] "i" (PPOLL)
		     : "4", "5", "cc", "memory");
	return r2;
}
