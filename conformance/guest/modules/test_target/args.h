/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Functions with 1 to 12 arguments and with results of every kind, defined twice: by the target, and by the patch with
 * another salt. Each result depends on every bit of every argument, and on the salt.
 */
#ifndef TEST_ARGS_H
#define TEST_ARGS_H

#include <linux/types.h>

#define TEST_SALT_OLD 0x6f6c64ULL
#define TEST_SALT_NEW 0x6e6577ULL

/* More than 16 bytes: passed in memory or by reference on some architectures, in registers on others. */
struct test_three {
	u64 a, b, c;
};

/* Returned in two registers on some architectures. */
struct test_two {
	u64 a, b;
};

/* Returned through memory that the caller provides. */
struct test_five {
	u64 word[5];
};

/* Parameter lists. The types are of every width and sign that a register or a stack slot can be extended from. */
#define TEST_P1 int a
#define TEST_P2 TEST_P1, u64 b
#define TEST_P3 TEST_P2, void *c
#define TEST_P4 TEST_P3, signed char d
#define TEST_P5 TEST_P4, u16 e
#define TEST_P6 TEST_P5, long f
#define TEST_P7 TEST_P6, u32 g
#define TEST_P8 TEST_P7, const char *h
#define TEST_P9 TEST_P8, s16 i
#define TEST_P10 TEST_P9, u64 j
#define TEST_P11 TEST_P10, int k
#define TEST_P12 TEST_P11, bool l

/* The same lists as arguments. */
#define TEST_A1 a
#define TEST_A2 TEST_A1, b
#define TEST_A3 TEST_A2, c
#define TEST_A4 TEST_A3, d
#define TEST_A5 TEST_A4, e
#define TEST_A6 TEST_A5, f
#define TEST_A7 TEST_A6, g
#define TEST_A8 TEST_A7, h
#define TEST_A9 TEST_A8, i
#define TEST_A10 TEST_A9, j
#define TEST_A11 TEST_A10, k
#define TEST_A12 TEST_A11, l

/* And what a function makes of them. */
#define TEST_MIX(sum, value) ((sum) * 0x100000001b3ULL + (u64)(value))
#define TEST_M1(salt) TEST_MIX(salt, a)
#define TEST_M2(salt) TEST_MIX(TEST_M1(salt), b)
#define TEST_M3(salt) TEST_MIX(TEST_M2(salt), (unsigned long)c)
#define TEST_M4(salt) TEST_MIX(TEST_M3(salt), d)
#define TEST_M5(salt) TEST_MIX(TEST_M4(salt), e)
#define TEST_M6(salt) TEST_MIX(TEST_M5(salt), f)
#define TEST_M7(salt) TEST_MIX(TEST_M6(salt), g)
#define TEST_M8(salt) TEST_MIX(TEST_M7(salt), (unsigned long)h)
#define TEST_M9(salt) TEST_MIX(TEST_M8(salt), i)
#define TEST_M10(salt) TEST_MIX(TEST_M9(salt), j)
#define TEST_M11(salt) TEST_MIX(TEST_M10(salt), k)
#define TEST_M12(salt) TEST_MIX(TEST_M11(salt), l)

static inline u64 test_mix_three(u64 sum, const struct test_three *three)
{
	return TEST_MIX(TEST_MIX(TEST_MIX(sum, three->a), three->b), three->c);
}

#define TEST_EACH_COUNT(what) \
	what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) what(12)

#endif /* TEST_ARGS_H */
