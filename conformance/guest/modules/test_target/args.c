// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Functions with all kinds of arguments and results, and callers that check them. */
#include <linux/kernel.h>
#include <linux/stdarg.h>

#include "args.h"
#include "target.h"

#define PROTOTYPE(n) u64 test_args_##n(TEST_P##n);
TEST_EACH_COUNT(PROTOTYPE)
u64 test_args_struct(struct test_three s, int a, struct test_three t, u64 b, u64 c, u64 d, u64 e, struct test_three u);
struct test_two test_args_two(u64 a, u64 b);
struct test_five test_args_five(u64 a, u64 b, u64 c);
u64 test_args_variadic(int count, ...);

#define FUNCTION(n)					\
TEST_FUNC u64 test_args_##n(TEST_P##n)			\
{							\
	return TEST_M##n(TEST_SALT_OLD);		\
}
TEST_EACH_COUNT(FUNCTION)

TEST_FUNC u64 test_args_struct(struct test_three s, int a, struct test_three t, u64 b, u64 c, u64 d, u64 e,
			       struct test_three u)
{
	u64 sum = test_mix_three(TEST_SALT_OLD, &s);

	sum = test_mix_three(TEST_MIX(sum, a), &t);
	sum = TEST_MIX(TEST_MIX(TEST_MIX(TEST_MIX(sum, b), c), d), e);
	return test_mix_three(sum, &u);
}

TEST_FUNC struct test_two test_args_two(u64 a, u64 b)
{
	return (struct test_two){ TEST_MIX(TEST_SALT_OLD, a), TEST_MIX(TEST_SALT_OLD, b) };
}

TEST_FUNC struct test_five test_args_five(u64 a, u64 b, u64 c)
{
	return (struct test_five){ { TEST_SALT_OLD, a, b, c, TEST_MIX(a, b) } };
}

TEST_FUNC u64 test_args_variadic(int count, ...)
{
	u64 sum = TEST_SALT_OLD;
	va_list list;

	va_start(list, count);
	while (count--)
		sum = TEST_MIX(sum, va_arg(list, u64));
	va_end(list);
	return sum;
}

static void tally_add(struct test_tally *tally, const char *name, u64 got, u64 old, u64 new)
{
	if (got == old)
		tally->old++;
	else if (got == new)
		tally->new++;
	else if (!tally->bad++) {
		tally->name = name;
		tally->got = got;
		tally->expected = new;
	}
}

static void tally_structs(struct test_tally *tally)
{
	const struct test_three s = { 1ULL << 63, 2, ~3ULL }, t = { 4, 5ULL << 40, 6 }, u = { ~7ULL, 8, 9 };
	u64 sum[2] = { TEST_SALT_OLD, TEST_SALT_NEW };
	struct test_five five;
	struct test_two two;
	int i;

	for (i = 0; i < 2; i++) {
		sum[i] = TEST_MIX(test_mix_three(sum[i], &s), -1);
		sum[i] = test_mix_three(sum[i], &t);
		sum[i] = TEST_MIX(TEST_MIX(TEST_MIX(TEST_MIX(sum[i], 11), 12), 13), 14);
		sum[i] = test_mix_three(sum[i], &u);
	}
	tally_add(tally, "struct by value", test_args_struct(s, -1, t, 11, 12, 13, 14, u), sum[0], sum[1]);

	two = test_args_two(~15ULL, 16);
	tally_add(tally, "first of two words", two.a, TEST_MIX(TEST_SALT_OLD, ~15ULL),
		  TEST_MIX(TEST_SALT_NEW, ~15ULL));
	tally_add(tally, "second of two words", two.b, TEST_MIX(TEST_SALT_OLD, 16), TEST_MIX(TEST_SALT_NEW, 16));

	five = test_args_five(17, ~18ULL, 19);
	if (five.word[1] != 17 || five.word[2] != ~18ULL || five.word[3] != 19 || five.word[4] != TEST_MIX(17, ~18ULL))
		five.word[0] = 0;
	tally_add(tally, "struct in memory", five.word[0], TEST_SALT_OLD, TEST_SALT_NEW);
}

static void tally_variadic(struct test_tally *tally)
{
	u64 sum[2] = { TEST_SALT_OLD, TEST_SALT_NEW };
	u64 value;
	int i;

	for (i = 0; i < 2; i++)
		for (value = 1; value <= 11; value++)
			sum[i] = TEST_MIX(sum[i], value << 33);
	tally_add(tally, "variadic",
		  test_args_variadic(11, 1ULL << 33, 2ULL << 33, 3ULL << 33, 4ULL << 33, 5ULL << 33, 6ULL << 33,
				     7ULL << 33, 8ULL << 33, 9ULL << 33, 10ULL << 33, 11ULL << 33),
		  sum[0], sum[1]);
}

/* Calls every function once. */
void test_args_tally(struct test_tally *tally)
{
	static char string[] = "h";
	int a = -1, k = -11;
	u64 b = 0x8000000000000002ULL, j = ~10ULL;
	void *c = &string;
	signed char d = -4;
	u16 e = 0xfffb;
	long f = -6;
	u32 g = 0xfffffff9;
	const char *h = string;
	s16 i = -9;
	bool l = true;

#define CALL(n) tally_add(tally, #n " arguments", test_args_##n(TEST_A##n), TEST_M##n(TEST_SALT_OLD), \
			  TEST_M##n(TEST_SALT_NEW));
	TEST_EACH_COUNT(CALL)
	tally_structs(tally);
	tally_variadic(tally);
}

/* "old" or "new" if all results are that; else what is wrong. */
int args_show(struct seq_file *m, void *v)
{
	struct test_tally tally = {};

	test_args_tally(&tally);
	if (tally.bad)
		seq_printf(m, "%lu wrong, first %s: got %#llx expected %#llx\n", tally.bad, tally.name, tally.got,
			   tally.expected);
	else if (tally.old && tally.new)
		seq_printf(m, "%lu old, %lu new\n", tally.old, tally.new);
	else
		seq_puts(m, tally.new ? "new\n" : "old\n");
	return 0;
}

/*
 * A static function so small that a compiler may tell its callers which registers it leaves alone (gcc's -fipa-ra).
 * A replacement leaves alone only what the ABI says.
 */
static noinline __noclone u64 test_leaf(u64 value)
{
	asm volatile("");
	return value + 1;
}

/* Makes the compiler hold a value in a register, whose content it does not know. */
#define HOLD(value) asm volatile("" : "+r" (value))
#define HOLD_ALL do {							\
	HOLD(a); HOLD(b); HOLD(c); HOLD(d); HOLD(e); HOLD(f);		\
	HOLD(g); HOLD(h); HOLD(i); HOLD(j); HOLD(k); HOLD(l);		\
} while (0)

/* More values than there are callee-saved registers, alive across a call: in registers as far as they go. */
#define ACROSS(call) ({							\
	u64 a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;			\
	u64 g = 7, h = 8, i = 9, j = 10, k = 11, l = 12;		\
	u64 result_;							\
									\
	HOLD_ALL;							\
	result_ = (call);						\
	HOLD_ALL;							\
	(a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && f == 6 && g == 7 && h == 8 && i == 9 && j == 10 &&	\
	 k == 11 && l == 12) ? result_ : ~0ULL;				\
})

int leaf_show(struct seq_file *m, void *v)
{
	u64 one = 1;

	HOLD(one);
	seq_printf(m, "%lld\n", ACROSS(test_leaf(one)));
	return 0;
}

int saved_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%lld\n", ACROSS(test_value()));
	return 0;
}
