// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Calls a function that was compiled with room for a slot, and says whether it or what its slot leads to has run. The slot is
 * put into the program's file. The far functions and the rest are in slot_ARCH.S.
 */
typedef unsigned long u64;

#define FUNCTION 41

long syscall6(long nr, long a, long b, long c, long d, long e, long f);
extern const long nr_write, nr_exit;
u64 seen[48];

__attribute__((noinline, noipa)) int patched(int n)
{
	return n * 3;
}

void start(void)
{
	int result;

	seen[FUNCTION] = 7;
	result = patched(5);
	if (seen[FUNCTION] == 1)
		syscall6(nr_write, 1, (long)"replaced\n", 9, 0, 0, 0);
	else if (seen[FUNCTION] == 7 && result == 15)
		syscall6(nr_write, 1, (long)"original\n", 9, 0, 0, 0);
	syscall6(nr_exit, 0, 0, 0, 0, 0, 0);
	for (;;)
		;
}
