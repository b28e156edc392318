// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the work that tasks do in system calls came to: how often it was all of one universe, and how often it was mixed. And a
 * witness of all CPUs: whether work of one universe was under way while work of another began, and how often the universe of what
 * began changed.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "target.h"

static const char *const names[] = { [UNIVERSE_TEN] = "ten", [UNIVERSE_PAIR] = "pair" };

static struct {
	/* Of one universe, by its number; mixed; and what the first mixed one gave. */
	atomic_t of[UNIVERSES], mixed, gave;
} tallies[ARRAY_SIZE(names)];

static atomic_t under_way[UNIVERSES];
static atomic_t overlaps, changes;
static atomic_t last = ATOMIC_INIT(0);

void universe_enter(int universe)
{
	int other;

	if (atomic_xchg(&last, universe) != universe)
		atomic_inc(&changes);
	/* Counted before it looks: of two that begin at once, one sees the other. */
	atomic_inc(&under_way[universe]);
	smp_mb__after_atomic();
	for (other = 0; other < UNIVERSES; other++)
		if (other != universe && atomic_read(&under_way[other]))
			atomic_inc(&overlaps);
}

void universe_leave(int universe)
{
	atomic_dec(&under_way[universe]);
}

/* In the middle of the work: long enough that a transition comes upon the task here. */
void universe_pause(void)
{
	usleep_range(50, 150);
}

static unsigned int rest_us = 500;
module_param(rest_us, uint, 0600);

/* After it. */
void universe_rest(void)
{
	usleep_range(rest_us, 2 * rest_us);
}

void universe_work(enum universe_work work)
{
	static atomic_t value = ATOMIC_INIT(1);
	int gave, universe;

	if (work == UNIVERSE_TEN) {
		gave = universe_ten();
		universe = gave % 10 ? -1 : gave / 10 - 1;
	} else {
		gave = universe_pair(atomic_inc_return(&value));
		universe = gave;
	}
	if (universe >= 0 && universe < UNIVERSES)
		atomic_inc(&tallies[work].of[universe]);
	else if (!atomic_fetch_inc(&tallies[work].mixed))
		atomic_set(&tallies[work].gave, gave);
}

/* A line for each kind of work, "NAME universe0 N universe1 N universe2 N universe3 N mixed N gave N"; then the witness. */
int universe_tally_show(struct seq_file *m, void *v)
{
	int work, universe;

	for (work = 0; work < ARRAY_SIZE(names); work++) {
		seq_puts(m, names[work]);
		for (universe = 0; universe < UNIVERSES; universe++)
			seq_printf(m, " universe%d %d", universe, atomic_read(&tallies[work].of[universe]));
		seq_printf(m, " mixed %d gave %d\n", atomic_read(&tallies[work].mixed), atomic_read(&tallies[work].gave));
	}
	seq_printf(m, "all overlaps %d changes %d\n", atomic_read(&overlaps), atomic_read(&changes));
	return 0;
}

int universe_tally_reset(char *text)
{
	memset(tallies, 0, sizeof(tallies));
	atomic_set(&overlaps, 0);
	atomic_set(&changes, 0);
	return 0;
}
