// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Walks of many tasks, by klp.ko and by the kernel, counted by what came of them. */
#include <linux/delay.h>
#include <linux/kallsyms.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "stacks.h"

#define MAX_REASONS 20

struct tally {
	unsigned long walks;
	/* Refused because they ran; not refused although they ran; given their stack back; never run yet. */
	unsigned long running, not_refused, exited, new;
	/* Walked by both, and reliable for both. */
	unsigned long equal, different, fewer;
	/* Reliable for one of them, or for none. */
	unsigned long ours_only, kernel_only, neither;
	struct {
		const char *name;
		unsigned long count;
	} reasons[MAX_REASONS];
	/* The first that should not have been, that the kernel's walker did better, and that it did worse. */
	struct stacks_walk *wrong, *worse, *better;
	char wrong_task[TASK_COMM_LEN], worse_task[TASK_COMM_LEN], better_task[TASK_COMM_LEN];
};

static void count_reason(struct tally *tally, const char *name)
{
	size_t i;

	for (i = 0; i < MAX_REASONS; i++) {
		if (!tally->reasons[i].name)
			tally->reasons[i].name = name;
		if (!strcmp(tally->reasons[i].name, name)) {
			tally->reasons[i].count++;
			return;
		}
	}
}

static void keep(struct stacks_walk **first, char *name, const struct stacks_walk *walk, struct task_struct *task)
{
	if (*first)
		return;
	*first = kmemdup(walk, sizeof(*walk), GFP_ATOMIC);
	if (!*first)
		return;
	(*first)->ours.frames = (*first)->frames;
	memcpy(name, task->comm, TASK_COMM_LEN);
}

static bool is_reason(const struct stacks_walk *walk, const char *name)
{
	return walk->result && walk->ours.reason && !strcmp(walk->ours.reason, name);
}

static void count(struct tally *tally, const struct stacks_walk *walk, struct task_struct *task)
{
	tally->walks++;
	if (walk->running) {
		if (is_reason(walk, "running")) {
			tally->running++;
		} else {
			tally->not_refused++;
			keep(&tally->wrong, tally->wrong_task, walk, task);
		}
		return;
	}
	/* The kernel calls an exited task's stack reliable: empty, or what led to its last switch until that is done. */
	if (is_reason(walk, "no-stack") && (!walk->kernel_count || READ_ONCE(task->__state) == TASK_DEAD)) {
		tally->exited++;
		return;
	}
	if (walk->result) {
		count_reason(tally, walk->ours.reason ?: "more-frames");
		if (walk->kernel_result < 0) {
			tally->neither++;
		} else {
			tally->kernel_only++;
			keep(&tally->worse, tally->worse_task, walk, task);
		}
		return;
	}
	/* The kernel may have no frame for where a task will start, which is all that there is. */
	if (walk->ours.count == 1 && walk->frames[0].exact && !walk->kernel_count) {
		tally->new++;
		return;
	}
	if (walk->kernel_result < 0) {
		tally->ours_only++;
		/* It has given up, but not before it had found more. */
		if (walk->kernel_count > walk->ours.count) {
			tally->fewer++;
			keep(&tally->wrong, tally->wrong_task, walk, task);
		}
		keep(&tally->better, tally->better_task, walk, task);
		return;
	}
	switch (stacks_compare(walk)) {
	case STACKS_EQUAL:
		tally->equal++;
		return;
	case STACKS_FEWER:
		tally->fewer++;
		break;
	case STACKS_DIFFERENT:
		tally->different++;
		break;
	}
	keep(&tally->wrong, tally->wrong_task, walk, task);
}

static void print(struct seq_file *m, const struct tally *tally)
{
	size_t i;

	seq_printf(m, "kernel %s\n", stacks_kernel_is_reliable() ? "reliable" : "best-effort");
	seq_printf(m, "walks %lu\nrunning %lu\nnot-refused %lu\nexited %lu\nnew %lu\n", tally->walks,
		   tally->running, tally->not_refused, tally->exited, tally->new);
	seq_printf(m, "equal %lu\ndifferent %lu\nfewer %lu\n", tally->equal, tally->different, tally->fewer);
	seq_printf(m, "ours-only %lu\nkernel-only %lu\nneither %lu\n", tally->ours_only, tally->kernel_only,
		   tally->neither);
	for (i = 0; i < MAX_REASONS && tally->reasons[i].name; i++)
		seq_printf(m, "reason %s %lu\n", tally->reasons[i].name, tally->reasons[i].count);
	if (tally->wrong) {
		seq_printf(m, "wrong: task %s\n", tally->wrong_task);
		stacks_print(m, tally->wrong);
		stacks_print_kernel(m, tally->wrong);
	}
	if (tally->worse) {
		seq_printf(m, "worse than the kernel: task %s\n", tally->worse_task);
		stacks_print(m, tally->worse);
		stacks_print_kernel(m, tally->worse);
	}
	if (tally->better) {
		seq_printf(m, "better than the kernel: task %s\n", tally->better_task);
		stacks_print(m, tally->better);
		stacks_print_kernel(m, tally->better);
	}
}

/* All tasks but the calling one, again and again until so many walks are done. */
int stacks_compare_show(struct seq_file *m, unsigned long walks)
{
	struct tally *tally = kzalloc(sizeof(*tally), GFP_KERNEL);
	struct stacks_walk *walk = kzalloc(sizeof(*walk), GFP_KERNEL);
	struct task_struct *process, *task;
	int ret = -ENOMEM;

	if (!tally || !walk)
		goto out;
	while (tally->walks < walks) {
		rcu_read_lock();
		for_each_process_thread(process, task) {
			if (task == current)
				continue;
			stacks_walk(task, walk);
			count(tally, walk, task);
		}
		rcu_read_unlock();
		ret = -EINTR;
		if (fatal_signal_pending(current))
			goto out;
		/* Others get on with their work, so that the next round finds them elsewhere. */
		usleep_range(1000, 3000);
	}
	print(m, tally);
	ret = 0;
out:
	if (tally) {
		kfree(tally->wrong);
		kfree(tally->worse);
		kfree(tally->better);
	}
	kfree(tally);
	kfree(walk);
	return ret;
}

/* What became of threads that were preempted while they called stacks_tiny(). */
struct preempted {
	struct tally tally;
	struct stacks_walk walk;
	/* In the interrupted function: at its first instruction, behind it; in its caller. */
	unsigned long at_entry, behind, in_caller;
	/* Reliable, and without one of the functions that are on the stack wherever it was. */
	unsigned long missing;
	unsigned long wanted;
};

/* Whether `pc` belongs to the function of this module with that name. */
static bool is_in(u64 pc, const char *function)
{
	char symbol[KSYM_SYMBOL_LEN];
	size_t length = strlen(function);

	sprint_symbol_no_offset(symbol, pc);
	return !strncmp(symbol, function, length) && (symbol[length] == ' ' || !symbol[length]);
}

static void check_preempted(struct preempted *preempted, struct task_struct *task)
{
	static const char *const callers[] = { "stacks_spin", "stacks_thread", "kthread" };
	const struct stacks_walk *walk = &preempted->walk;
	unsigned int at, i = 0;

	for (at = 0; at < walk->ours.count && i < ARRAY_SIZE(callers); at++) {
		const struct klp_stack_frame *frame = &walk->frames[at];
		u64 pc = frame->pc - !frame->exact;

		if (is_in(pc, callers[i])) {
			preempted->in_caller += !i && frame->exact;
			i++;
		} else if (i) {
			break;
		} else if (frame->exact && is_in(pc, "stacks_tiny")) {
			if (pc == (unsigned long)stacks_tiny)
				preempted->at_entry++;
			else
				preempted->behind++;
			/* Its caller is the next, or the walk is unreliable. */
			if (at + 1 < walk->ours.count && !is_in(walk->frames[at + 1].pc - 1, callers[0]))
				break;
		}
	}
	if (!walk->result && i < ARRAY_SIZE(callers)) {
		preempted->missing++;
		keep(&preempted->tally.wrong, preempted->tally.wrong_task, walk, task);
	}
}

static bool walk_preempted(struct stacks_parked *parked, void *context)
{
	struct preempted *preempted = context;

	if (parked->enter != stacks_spin)
		return true;
	stacks_walk(parked->task, &preempted->walk);
	if (preempted->walk.running)
		return true;
	count(&preempted->tally, &preempted->walk, parked->task);
	check_preempted(preempted, parked->task);
	return preempted->tally.walks < preempted->wanted;
}

/* The threads that spin, which have to share a CPU, until so many walks found one preempted; for at most ten seconds. */
int stacks_preempted_show(struct seq_file *m, unsigned long walks)
{
	struct preempted *preempted = kzalloc(sizeof(*preempted), GFP_KERNEL);
	unsigned long deadline = jiffies + 10 * HZ;
	int ret = 0;

	if (!preempted)
		return -ENOMEM;
	preempted->wanted = walks;
	while (stacks_for_each(walk_preempted, preempted) && time_before(jiffies, deadline)) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			goto out;
		}
		usleep_range(500, 2000);
	}
	seq_printf(m, "at-entry %lu\nbehind %lu\nin-caller %lu\nmissing %lu\n", preempted->at_entry, preempted->behind,
		   preempted->in_caller, preempted->missing);
	print(m, &preempted->tally);
out:
	kfree(preempted->tally.wrong);
	kfree(preempted->tally.worse);
	kfree(preempted->tally.better);
	kfree(preempted);
	return ret;
}
