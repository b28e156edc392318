// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Tasks in states that busybox has no program for; each until it is killed.
 *
 *	tasks threads N		N threads asleep in ppoll(2), which share all they have
 *	tasks trace PID		another process, stopped as a debugger stops it
 *	tasks spin		in user mode, and never in the kernel of its own accord
 *	tasks read FILE		in one read(2), which no library repeats; then it ends with 0, or 100 and the error number
 *
 * Exit status 1: the arguments are wrong, 2: the kernel refused.
 */

#include "program.h"

/* include/uapi/linux/ptrace.h, wait.h */
#define PTRACE_ATTACH 16
#define WALL 0x40000000

static void sleep_for_ever(void)
{
	for (;;)
		call(PPOLL, 0, 0, 0, 0);
}

int run(long count, char **words)
{
	if (count == 3 && equal(words[1], "threads")) {
		long left;

		for (left = number(words[2]); left > 0; left--)
			if (start_sleeper() < 0)
				return 2;
		sleep_for_ever();
	}
	if (count == 3 && equal(words[1], "trace")) {
		long pid = number(words[2]);

		if (call(PTRACE, PTRACE_ATTACH, pid, 0, 0) < 0 || call(WAIT4, pid, 0, WALL, 0) < 0)
			return 2;
		sleep_for_ever();
	}
	if (count == 3 && equal(words[1], "read")) {
		char byte;
		long file = call(OPENAT, AT_FDCWD, (long)words[2], 0, 0);
		long result;

		if (file < 0)
			return 2;
		result = call(READ, file, (long)&byte, 1, 0);
		return result < 0 ? 100 - result : 0;
	}
	if (count == 2 && equal(words[1], "spin"))
		for (;;)
			asm volatile("");
	return 1;
}
