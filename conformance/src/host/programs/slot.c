// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Calls functions through a slot and tells what became of every register.
 *
 * A program without a C library. What depends on the architecture is in slot_ARCH.S, what depends on the slot in slot.h,
 * which the case writes: SLOT, SLOT_AT, LITERAL, CALLS_SAVE, CHANGES, and JUMPS, direct
 * branches to the slot.
 */
typedef unsigned long u64;
typedef unsigned char u8;

#include "slot.h"

/* Words of a set of registers; behind them are what the ABI's saved r2 held, and the number of the function. */
#define WORDS 48
#define SAVED 40
#define FUNCTION 41

/* slot_ARCH.S: */
long syscall6(long nr, long a, long b, long c, long d, long e, long f);
void probe(const u64 *in, u64 *out, u64 entry);
extern const u64 functions[2];	/* far functions that store all registers in `seen`, and their number */
extern const u64 kept;		/* a bit for each register that a slot must not change */
extern const long target_in;	/* the register that must hold the target, or -1 */
extern const long restored;	/* the register that a slot for calls saves, or -1 */
extern const long nr_write, nr_exit, nr_mmap, nr_fork;
extern const long exec_flags;	/* of mmap, for text in which indirect branches must find landing pads */
u64 seen[WORDS];

static void say(const char *text)
{
	u64 length = 0;

	while (text[length])
		length++;
	syscall6(nr_write, 1, (long)text, length, 0, 0, 0);
}

static void say_number(u64 n)
{
	char text[] = "0000000000000000 ";

	for (int i = 15; i >= 0; i--, n >>= 4)
		text[i] = "0123456789abcdef"[n & 15];
	say(text);
}

static void leave(int status)
{
	syscall6(nr_exit, status, 0, 0, 0, 0, 0);
	for (;;)
		;
}

static void fail(const char *what, u64 found, u64 expected)
{
	say(what);
	say(" is ");
	say_number(found);
	say("expected ");
	say_number(expected);
	say("\n");
	leave(1);
}

/* Memory at an address of our choice, which a child shares. */
static void map(u64 at, u64 length, long exec)
{
	const long prot = 7 | exec, flags = 0x31; /* read, write, execute; shared, fixed, anonymous */

	if (syscall6(nr_mmap, at & ~0xffffUL, length + 0x20000, prot, flags, -1, 0) != (long)(at & ~0xffffUL))
		fail("mmap", 0, at);
}

static void copy(u64 to, const u8 *from, u64 length)
{
	for (u64 i = 0; i < length; i++)
		((volatile u8 *)to)[i] = from[i];
	__builtin___clear_cache((char *)to, (char *)to + length);
}

static volatile u64 *literal(void)
{
	return (volatile u64 *)(SLOT_AT + LITERAL);
}

/* One call through the slot, with a value of its own in every register. Returns the number of the function. */
static u64 call(u64 entry)
{
	u64 in[WORDS], out[WORDS];

	for (int i = 0; i < WORDS; i++) {
		in[i] = 0x1234567000000000UL + i * 0x101010101UL;
		seen[i] = out[i] = 0;
	}
	if (restored >= 0 && !CALLS_SAVE)
		in[SAVED] = in[restored];
	probe(in, out, entry);
	for (int i = 0; i < 40; i++) {
		if (!(kept >> i & 1))
			continue;
		if (seen[i] != in[i])
			fail("a register at the target", seen[i], in[i]);
		if (out[i] != in[i])
			fail("a register after the call", out[i], in[i]);
	}
	if (seen[FUNCTION] > 1)
		fail("the function", seen[FUNCTION], 0);
	if (target_in >= 0 && seen[target_in] != functions[seen[FUNCTION]])
		fail("the target in its register", seen[target_in], functions[seen[FUNCTION]]);
	if (restored >= 0 && out[SAVED] != in[restored])
		fail("the saved register", out[SAVED], in[restored]);
	return seen[FUNCTION];
}

static void call_both(u64 entry)
{
	for (int i = 0; i < 2; i++) {
		*literal() = functions[i];
		if (call(entry) != (u64)i)
			fail("the function", seen[FUNCTION], i);
	}
}

/* A child moves the slot between two targets while we call through it, until we have seen CHANGES. */
static void race(void)
{
	volatile u64 *stop = (volatile u64 *)(SLOT_AT + 0x1000), *ended = stop + 1;
	u64 counts[2] = { 0, 0 }, changes = 0, last = 0;
	long child;

	child = syscall6(nr_fork, 17, 0, 0, 0, 0, 0);
	if (child < 0)
		fail("fork", child, 0);
	if (child == 0) {
		/* No longer than some seconds, whatever becomes of the parent. */
		for (u64 i = 0; i < 1UL << 29 && !*stop; i++)
			*literal() = functions[i & 1];
		*ended = 1;
		leave(0);
	}
	while (changes < CHANGES && !*ended) {
		u64 function = call(SLOT_AT);

		counts[function]++;
		changes += function != last;
		last = function;
	}
	*stop = 1;
	if (!counts[0] || !counts[1])
		fail("the number of calls of one function", 0, 1);
	say("updated\n");
}

void start(void)
{
	static const u8 slot[] = SLOT;
	static const struct {
		u64 at;
		u8 code[8];
	} jumps[] = JUMPS;

	map(SLOT_AT, sizeof(slot), exec_flags);
	copy(SLOT_AT, slot, sizeof(slot));
	if (*literal() != functions[0])
		fail("the literal", *literal(), functions[0]);
	call_both(SLOT_AT);
	for (u64 i = 0; i < sizeof(jumps) / sizeof(*jumps); i++) {
		map(jumps[i].at, sizeof(jumps[i].code), 0);
		copy(jumps[i].at, jumps[i].code, sizeof(jumps[i].code));
		call_both(jumps[i].at);
	}
	say("kept\n");
	if (CHANGES)
		race();
	leave(0);
}
