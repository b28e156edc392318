/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* ppc64: system calls of programs without a C library. ../README.md says what each is. */
enum { READ = 3, WRITE = 4, CLOSE = 6, PTRACE = 26, WAIT4 = 114, CLONE = 120, DELETE_MODULE = 129, EXIT_GROUP = 234, PPOLL = 281,
       OPENAT = 286, FINIT_MODULE = 353 };

/* Entered with r12 as a function is, by ELFv2. */
asm(".globl _start\n_start: addis 2, 12, .TOC.-_start@ha; addi 2, 2, .TOC.-_start@l;"
    "mr 3, 1; li 0, 0; stdu 0, -64(1); bl start; nop");

static inline long call(long number, long a, long b, long c, long d)
{
	register long r0 asm("r0") = number;
	register long r3 asm("r3") = a;
	register long r4 asm("r4") = b;
	register long r5 asm("r5") = c;
	register long r6 asm("r6") = d;

	/* An error is a positive number and a bit. */
	asm volatile("sc; bns+ 1f; neg 3, 3; 1:"
		     : "+r" (r0), "+r" (r3), "+r" (r4), "+r" (r5), "+r" (r6)
		     :
		     : "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
	return r3;
}

static inline long start_sleeper(void)
{
	register long r0 asm("r0") = CLONE;
	register long r3 asm("r3") = THREAD;
	register long r4 asm("r4") = 0;

	asm volatile("sc; bns+ 0f; neg 3, 3; 0: cmpdi 3, 0; bne 2f;"
		     "1: li 0, %[ppoll]; li 3, 0; li 4, 0; li 5, 0; li 6, 0; sc; b 1b; 2:"
		     : "+r" (r0), "+r" (r3), "+r" (r4)
		     : [ppoll] "i" (PPOLL)
		     : "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
	return r3;
}
