/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the files of the target module share. Its functions are reached through /proc/test_target. */
#ifndef TEST_TARGET_H
#define TEST_TARGET_H

#include <linux/compiler.h>
#include <linux/seq_file.h>
#include <linux/types.h>

/* A function that callers call as if it were in another file: nothing about its body is known to them. */
#define TEST_FUNC __attribute__((noipa))

/* target.c */
int test_value(void);
int test_second(void);
int test_untraced(void);
bool test_value_is_known(int value);
/* twin_a.c, twin_b.c: each has a static function test_twin() */
int test_twin_a(void);
int test_twin_b(void);
/* args.c: every call's result is that of the original function or that of its replacement */
struct test_tally {
	unsigned long old, new, bad;
	/* The first bad one. */
	const char *name;
	u64 got, expected;
};
void test_args_tally(struct test_tally *tally);
int args_show(struct seq_file *m, void *v);
int leaf_show(struct seq_file *m, void *v);
int saved_show(struct seq_file *m, void *v);
/* nested.c */
int recurse_show(struct seq_file *m, void *v);
int mutual_show(struct seq_file *m, void *v);
int deep_show(struct seq_file *m, void *v);
int wide_show(struct seq_file *m, void *v);
int calls_show(struct seq_file *m, void *v);
int wait_show(struct seq_file *m, void *v);
/* contexts.c */
int contexts_show(struct seq_file *m, void *v);
int nmi_show(struct seq_file *m, void *v);
int test_contexts_init(void);
void test_contexts_exit(void);
/* stress.c */
int stress_show(struct seq_file *m, void *v);
void test_stress_stop(void);

#endif /* TEST_TARGET_H */
