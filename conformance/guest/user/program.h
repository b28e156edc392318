/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Programs without a C library: there need not be one for the target. Each defines run(), whose result is the exit status.
 */

/* CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD of include/uapi/linux/sched.h. */
#define THREAD (0x100 | 0x200 | 0x400 | 0x800 | 0x10000)
/* include/uapi/linux/fcntl.h */
#define AT_FDCWD -100

/*
 * For each architecture: system call numbers (arch/.../include/uapi/asm/unistd*.h, syscall.tbl); a system call of four
 * arguments; a thread that sleeps for ever. The thread has its parent's stack, so it must not use any.
 */
#if defined(__x86_64__)
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
#elif defined(__aarch64__)
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
#elif defined(__powerpc64__)
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
#elif defined(__riscv)
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
#elif defined(__s390x__)
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
#else
#error "no system calls are known for this architecture"
#endif

static inline int equal(const char *one, const char *other)
{
	while (*one && *one == *other) {
		one++;
		other++;
	}
	return *one == *other;
}

static inline long number(const char *text)
{
	long value = 0;

	while (*text >= '0' && *text <= '9')
		value = value * 10 + *text++ - '0';
	return value;
}

int run(long count, char **words);

/* What the kernel leaves on the stack: the number of words, and their addresses. */
void start(long *stack);
void start(long *stack)
{
	call(EXIT_GROUP, run(stack[0], (char **)(stack + 1)), 0, 0, 0);
	for (;;)
		;
}
