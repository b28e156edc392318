/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the files of the target share. */
#ifndef TEST_UNIVERSE_TARGET_H
#define TEST_UNIVERSE_TARGET_H

#include <linux/seq_file.h>

#include "universe.h"

/* calls.c: what may be patched. */
int universe_which(void);
int universe_ten(void);
int universe_pair(u64 value);
int universe_sleep(void);
int universe_nap(void);
/* tally.c */
enum universe_work { UNIVERSE_TEN, UNIVERSE_PAIR };
void universe_enter(int universe);
void universe_leave(int universe);
void universe_pause(void);
void universe_rest(void);
void universe_work(enum universe_work work);
int universe_tally_show(struct seq_file *m, void *v);
int universe_tally_reset(char *text);
/* sleepers.c */
int universe_asleep(unsigned int state);
int universe_sleepers_show(struct seq_file *m, void *v);
int universe_release(char *text);
/* threads.c */
int universe_threads_show(struct seq_file *m, void *v);
int universe_threads_start(char *text);
void universe_threads_stop(void);

#endif /* TEST_UNIVERSE_TARGET_H */
