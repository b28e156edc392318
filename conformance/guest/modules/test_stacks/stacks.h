/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the files of the module share, and what its patch has to know of it. */
#ifndef TEST_STACKS_H
#define TEST_STACKS_H

#include <linux/compiler.h>
#include <linux/klp_stack.h>
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/types.h>

struct proc_dir_entry;

/* A function that callers call as if it were in another file: it keeps its frame, and its name. */
#define STACKS_FUNC __attribute__((noipa))

/* Keeps the call before it from becoming a jump, which would leave no frame. */
#define STACKS_NO_TAIL_CALL(result) asm volatile("" : "+r" (result))

/* Something that a task is asleep in until it is released. */
struct stacks_parked {
	struct list_head list;
	struct task_struct *task;
	/* Enters the functions that are to be on the stack, the last of which sleeps. */
	int (*enter)(struct stacks_parked *parked);
	unsigned int depth;
	bool arrived, released;
};

/* Sleeps where it stands: the function that has this in it is the one that calls schedule(). */
static __always_inline void stacks_sleep(struct stacks_parked *parked)
{
	for (;;) {
		set_current_state(TASK_IDLE);
		if (READ_ONCE(parked->released))
			break;
		WRITE_ONCE(parked->arrived, true);
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

/* More than any stack of a test has. */
#define STACKS_MAX 128

/* One task's stack, walked by klp.ko and by the kernel while the task was held still for both. */
struct stacks_walk {
	/* It was on a CPU: the kernel's walker is not asked, which does not look. */
	bool running;
	struct klp_stack ours;
	int result;
	struct klp_stack_frame frames[STACKS_MAX];
	/* Negative: unreliable; the entries found before that are there, and zeros behind them. */
	int kernel_result;
	unsigned int kernel_count;
	unsigned long kernel[STACKS_MAX];
};

/* How the two lists compare. */
enum stacks_match { STACKS_EQUAL, STACKS_FEWER, STACKS_DIFFERENT };

/* park.c */
int stacks_park(const char *kind, unsigned int depth);
int stacks_sleep_here(void);
int stacks_release(void);
bool stacks_for_each(bool (*each)(struct stacks_parked *parked, void *context), void *context);
int stacks_parked_show(struct seq_file *m, void *v);
int stacks_spin(struct stacks_parked *parked);
void stacks_tiny(struct stacks_parked *parked);
/* bpf.c */
int stacks_bpf_init(void);
void stacks_bpf_exit(void);
int stacks_bpf(struct stacks_parked *parked);
int stacks_bpf_show(struct seq_file *m, void *v);
/* user.c */
int stacks_user_init(struct proc_dir_entry *directory);
/* walk.c */
int stacks_walk_init(void);
unsigned long stacks_symbol(const char *name);
bool stacks_kernel_is_reliable(void);
int stacks_walk_ours(struct task_struct *task, struct stacks_walk *walk);
void stacks_walk_kernel(struct task_struct *task, struct stacks_walk *walk);
void stacks_walk(struct task_struct *task, struct stacks_walk *walk);
int stacks_hold(struct task_struct *task, int (*each)(struct task_struct *task, void *data), void *data);
enum stacks_match stacks_compare(const struct stacks_walk *walk);
void stacks_print(struct seq_file *m, const struct stacks_walk *walk);
void stacks_print_kernel(struct seq_file *m, const struct stacks_walk *walk);
/* compare.c */
int stacks_compare_show(struct seq_file *m, unsigned long walks);
int stacks_preempted_show(struct seq_file *m, unsigned long walks);
/* spoil.c */
int stacks_spoil(struct task_struct *task, struct stacks_walk *walk);
/* cost.c */
int stacks_cost_show(struct seq_file *m, void *v);
int stacks_cost_all_show(struct seq_file *m, void *v);

#endif /* TEST_STACKS_H */
