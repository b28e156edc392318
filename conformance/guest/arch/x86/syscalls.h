/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* x86_64: system calls of programs without a C library. ../README.md says what each is. */
enum { READ = 0, WRITE = 1, CLOSE = 3, CLONE = 56, WAIT4 = 61, PTRACE = 101, DELETE_MODULE = 176, EXIT_GROUP = 231, OPENAT = 257,
       PPOLL = 271, FINIT_MODULE = 313 };

asm(".globl _start\n_start: mov %rsp, %rdi; and $-16, %rsp; call start");

static inline long call(long number, long a, long b, long c, long d)
{
	register long r10 asm("r10") = d;
	long result;

	asm volatile("syscall" : "=a" (result) : "a" (number), "D" (a), "S" (b), "d" (c), "r" (r10) : "rcx", "r11", "memory");
	return result;
}

static inline long start_sleeper(void)
{
	long result;

	asm volatile("syscall; test %%rax, %%rax; jnz 2f;"
		     "1: mov %[ppoll], %%eax; xor %%edi, %%edi; xor %%esi, %%esi; xor %%edx, %%edx; xor %%r10d, %%r10d;"
		     "syscall; jmp 1b; 2:"
		     : "=a" (result)
		     : "a" (CLONE), "D" (THREAD), "S" (0), [ppoll] "i" (PPOLL)
		     : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory");
	return result;
}
