/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef TRANSITION_BENCH_H
#define TRANSITION_BENCH_H

#include <linux/types.h>

/* target.c: what is patched */
unsigned long transition_bench_target(unsigned long value);
int transition_bench_hold(void);

/* calls.c */
bool transition_bench_answer(void);

/* meter.c: the patches call these */
void transition_bench_begin(void);
void transition_bench_end(void);

#endif /* TRANSITION_BENCH_H */
