// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A patch that comes and goes, many times.
 *
 *	cycles N FILE.ko PARAMETERS DIRECTORY
 *
 * Loads the patch with these parameters and takes it back, N times: at once, enabled again in the middle, or when it is
 * settled. DIRECTORY is the patch's in sysfs, which ends in the module's name. Exit status 1: the arguments are wrong; 2: standard
 * output has the cycle, what was done, and the error number, 0 if it took too long.
 */
#include "program.h"

/* Microseconds between two looks, and how many there are at most: 60 s. */
#define LOOK_US 5000
#define LOOKS 12000
/* include/uapi/asm-generic/fcntl.h, errno-base.h; the same on all four. */
#define O_WRONLY 1
#define O_NONBLOCK 04000
#define ENOENT 2
#define EAGAIN 11
#define EBUSY 16

static char path[256];
static unsigned long end;

static void rest(void)
{
	long time[2] = { 0, LOOK_US * 1000 };

	call(PPOLL, 0, 0, (long)time, 0);
}

static void put(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(WRITE, 1, (long)text, length, 0);
}

static void put_number(long value)
{
	char digits[20];
	char *next = digits + sizeof(digits) - 1;

	*next = 0;
	do
		*--next = '0' + value % 10;
	while ((value /= 10));
	put(next);
}

static int failed(long cycle, const char *what, long error)
{
	put("cycle ");
	put_number(cycle);
	put(": ");
	put(what);
	put(": ");
	put_number(-error);
	put("\n");
	return 2;
}

static const char *attribute(const char *name)
{
	unsigned long place = end;

	path[place++] = '/';
	while (*name && place < sizeof(path) - 1)
		path[place++] = *name++;
	path[place] = 0;
	return path;
}

/* The first character of an attribute, or an error. */
static long says(const char *name)
{
	long file = call(OPENAT, AT_FDCWD, (long)attribute(name), 0, 0), result;
	char byte = 0;

	if (file < 0)
		return file;
	result = call(READ, file, (long)&byte, 1, 0);
	call(CLOSE, file, 0, 0, 0);
	return result < 0 ? result : byte;
}

static long set(const char *name, const char *value)
{
	long file = call(OPENAT, AT_FDCWD, (long)attribute(name), O_WRONLY, 0), result;

	if (file < 0)
		return file;
	result = call(WRITE, file, (long)value, 1, 0);
	call(CLOSE, file, 0, 0, 0);
	return result < 0 ? result : 0;
}

static int settles(void)
{
	int looks;

	for (looks = 0; looks < LOOKS; looks++, rest())
		if (says("transition") == '0')
			return 1;
	return 0;
}

/* Taken back, whether it is still on its way or not. */
static int goes(void)
{
	int looks;

	for (looks = 0; looks < LOOKS; looks++, rest()) {
		if (says("transition") == '0')
			set("enabled", "0");
		if (says("enabled") < 0)
			return 1;
	}
	return 0;
}

static long load(const char *file, const char *parameters)
{
	long module = call(OPENAT, AT_FDCWD, (long)file, 0, 0), result;

	if (module < 0)
		return module;
	result = call(FINIT_MODULE, module, (long)parameters, 0, 0);
	call(CLOSE, module, 0, 0, 0);
	return result;
}

/* The module is given free just after its directory went. */
static long unload(const char *name)
{
	long result = 0;
	int looks;

	for (looks = 0; looks < LOOKS; looks++, rest()) {
		result = call(DELETE_MODULE, (long)name, O_NONBLOCK, 0, 0);
		if (result != -EAGAIN && result != -EBUSY)
			break;
	}
	return result;
}

int run(long count, char **words)
{
	const char *name = path;
	long cycle, cycles, result;

	if (count != 5)
		return 1;
	cycles = number(words[1]);
	for (; words[4][end] && end < sizeof(path) / 2; end++) {
		path[end] = words[4][end];
		if (path[end] == '/')
			name = words[4] + end + 1;
	}
	for (cycle = 1; cycle <= cycles; cycle++) {
		result = load(words[2], words[3]);
		if (result)
			return failed(cycle, "loading", result);
		if (cycle % 4 != 1 && !settles())
			return failed(cycle, "settling", 0);
		if (cycle % 4 <= 2) {
			result = set("enabled", "0");
			if (result)
				return failed(cycle, "disabling", result);
		}
		/* Too late at times. */
		if (cycle % 4 == 2)
			set("enabled", "1");
		if (!goes())
			return failed(cycle, "going", 0);
		result = unload(name);
		if (result)
			return failed(cycle, "unloading", result);
	}
	return 0;
}
