/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the files of the module share: /proc/test_shadow has a file for each thing that shadow variables have to do. */
#ifndef TEST_SHADOW_H
#define TEST_SHADOW_H

#include <linux/seq_file.h>
#include <linux/types.h>

/* Ids that no other module uses. */
enum { ID = 0x7e57, OTHER, KEPT, IDS };
#define SIZE 56

/* The reader's file says what was not so; nothing, if all was. */
#define EXPECT(condition) do {							\
	if (!(condition)) {							\
		seq_printf(m, "%s:%d: not %s\n", __func__, __LINE__, #condition);	\
		return;								\
	}									\
} while (0)

/* concurrent.c */
void test_contexts(struct seq_file *m);
void test_grace(struct seq_file *m);
void test_race(struct seq_file *m);
void test_stress(struct seq_file *m);

#endif /* TEST_SHADOW_H */
