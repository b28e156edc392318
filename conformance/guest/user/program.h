/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Programs without a C library: there need not be one for the target. Each defines run(), whose result is the exit status.
 */

/* CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD of include/uapi/linux/sched.h. */
#define THREAD (0x100 | 0x200 | 0x400 | 0x800 | 0x10000)
/* include/uapi/linux/fcntl.h */
#define AT_FDCWD -100

/* System calls of the architecture: ../arch/README.md. */
#include <syscalls.h>

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
