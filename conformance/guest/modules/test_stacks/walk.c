// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Walking a task's stack twice, by klp.ko and by the kernel, while it is held still. */
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>
#include <linux/static_call.h>
#include <linux/string.h>

#include "stacks.h"

/* What is called here the kernel does not export, and on x86 may have no landing pads: called as klp.ko's shim does. */
DEFINE_STATIC_CALL_NULL(stacks_lookup, *(unsigned long (*)(const char *))NULL);
DEFINE_STATIC_CALL_NULL(stacks_call, *(int (*)(struct task_struct *, int (*)(struct task_struct *, void *), void *))NULL);
DEFINE_STATIC_CALL_NULL(stacks_reliable, *(int (*)(struct task_struct *, unsigned long *, unsigned int))NULL);
DEFINE_STATIC_CALL_NULL(stacks_best_effort,
			*(void (*)(bool (*)(void *, unsigned long), void *, struct task_struct *, struct pt_regs *))NULL);
DEFINE_STATIC_CALL_NULL(stacks_put, *(void (*)(struct task_struct *))NULL);

static bool kernel_is_reliable;
/* What the function-graph tracer puts in place of return addresses, or zero. */
static unsigned long graph_return;

static unsigned long probed(unsigned int offset)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name", .offset = offset };

	if (register_kprobe(&probe))
		return 0;
	unregister_kprobe(&probe);
	return (unsigned long)probe.addr;
}

/* Where a kprobe by name comes to lie need not be the function's first byte; nor may one be at ftrace's site everywhere. */
static unsigned long find_lookup(void)
{
	unsigned long addr = probed(0) ?: probed(MCOUNT_INSN_SIZE);
	char symbol[KSYM_SYMBOL_LEN];
	unsigned long offset;

	sprint_symbol(symbol, addr);
	if (!addr || sscanf(symbol, "kallsyms_lookup_name+0x%lx", &offset) != 1)
		return 0;
	return addr - offset;
}

/* The address of a function of the kernel, or zero. */
unsigned long stacks_symbol(const char *name)
{
	return static_call(stacks_lookup)(name);
}

int stacks_walk_init(void)
{
	unsigned long lookup = find_lookup();
	unsigned long call, reliable, best_effort, put;

	if (!lookup)
		return -ENOENT;
	static_call_update(stacks_lookup, (unsigned long (*)(const char *))lookup);
	call = stacks_symbol("task_call_func");
	reliable = stacks_symbol("stack_trace_save_tsk_reliable");
	best_effort = stacks_symbol("arch_stack_walk");
	put = stacks_symbol("put_task_stack");
	kernel_is_reliable = reliable;
	graph_return = stacks_symbol("return_to_handler");
	if (!call || !(reliable || (best_effort && put))) {
		pr_err("test_stacks: this kernel has no task_call_func or no stack walker\n");
		return -ENOENT;
	}
	static_call_update(stacks_call, (void *)call);
	static_call_update(stacks_reliable, (void *)reliable);
	static_call_update(stacks_best_effort, (void *)best_effort);
	static_call_update(stacks_put, (void *)put);
	return 0;
}

bool stacks_kernel_is_reliable(void)
{
	return kernel_is_reliable;
}

static bool collect(void *data, unsigned long pc)
{
	struct stacks_walk *walk = data;

	if (walk->kernel_count == STACKS_MAX)
		return false;
	walk->kernel[walk->kernel_count++] = pc;
	return true;
}

/* Only for a task that is held still. Returns what klp.ko said. */
int stacks_walk_ours(struct task_struct *task, struct stacks_walk *walk)
{
	walk->ours = (struct klp_stack){ .frames = walk->frames, .size = STACKS_MAX };
	walk->result = klp_sdk_walk_stack(task, &walk->ours);
	return walk->result;
}

/* Likewise. */
void stacks_walk_kernel(struct task_struct *task, struct stacks_walk *walk)
{
	walk->kernel_count = 0;
	if (kernel_is_reliable) {
		walk->kernel_result = static_call(stacks_reliable)(task, walk->kernel, STACKS_MAX);
		if (walk->kernel_result >= 0)
			walk->kernel_count = walk->kernel_result;
		else
			while (walk->kernel_count < STACKS_MAX && walk->kernel[walk->kernel_count])
				walk->kernel_count++;
		return;
	}
	walk->kernel_result = 0;
	if (try_get_task_stack(task)) {
		static_call(stacks_best_effort)(collect, walk, task, NULL);
		static_call(stacks_put)(task);
	}
}

static int walk_held(struct task_struct *task, void *data)
{
	struct stacks_walk *walk = data;

#ifdef CONFIG_SMP
	walk->running = READ_ONCE(task->on_cpu);
#else
	walk->running = task == current;
#endif
	stacks_walk_ours(task, walk);
	walk->kernel_count = 0;
	if (walk->running)
		return 0;
	memset(walk->kernel, 0, sizeof(walk->kernel));
#ifdef CONFIG_RETHOOK
	/* Some kernels warn when they are to walk a task that is preempted while a return probe waits for it. */
	if (task_is_running(task) && task->rethooks.first) {
		walk->kernel_result = -EINVAL;
		return 0;
	}
#endif
	stacks_walk_kernel(task, walk);
	return 0;
}

void stacks_walk(struct task_struct *task, struct stacks_walk *walk)
{
	static_call(stacks_call)(task, walk_held, walk);
}

/* Calls `each` with the task held still. */
int stacks_hold(struct task_struct *task, int (*each)(struct task_struct *task, void *data), void *data)
{
	return static_call(stacks_call)(task, each, data);
}

/*
 * The two lists as they are, but for one thing: where klp.ko knows of the frame of the context switch and not where in
 * it the task will continue (a pc of zero), the kernel's list begins with the next one.
 */
/*
 * Whether the kernel has the same address. riscv's walker looks up what the tracer keeps of the current task, whichever task it walks
 * (arch/riscv/kernel/stacktrace.c): there it has the tracer's trampoline, in the place of what we found by the tracer's list.
 */
static bool is_same(const struct klp_stack_frame *frame, unsigned long kernel)
{
	return frame->pc == kernel || (frame->found == KLP_STACK_GRAPH && kernel && kernel == graph_return);
}

enum stacks_match stacks_compare(const struct stacks_walk *walk)
{
	unsigned int skip = walk->ours.count && !walk->frames[0].pc;
	unsigned int count = walk->ours.count - skip;
	unsigned int i;

	if (count != walk->kernel_count)
		return count < walk->kernel_count ? STACKS_FEWER : STACKS_DIFFERENT;
	for (i = 0; i < count; i++)
		if (!is_same(&walk->frames[i + skip], walk->kernel[i]))
			return STACKS_DIFFERENT;
	return STACKS_EQUAL;
}

static const char *const found_names[] = {
	[KLP_STACK_START] = "start",	     [KLP_STACK_CHAIN] = "chain", [KLP_STACK_TABLE] = "table",
	[KLP_STACK_REGISTERS] = "registers", [KLP_STACK_GRAPH] = "graph", [KLP_STACK_PROBE] = "probe",
	[KLP_STACK_PATCH] = "patch",
};

/* The verdict in the first line; then how each function was found, and its name. */
void stacks_print(struct seq_file *m, const struct stacks_walk *walk)
{
	unsigned int i;

	if (walk->result)
		seq_printf(m, "unreliable %s %ps\n", walk->ours.reason ?: "-", (void *)(unsigned long)walk->ours.addr);
	else
		seq_puts(m, "reliable\n");
	for (i = 0; i < walk->ours.count; i++) {
		const struct klp_stack_frame *frame = &walk->frames[i];
		const char *found = frame->found < ARRAY_SIZE(found_names) ? found_names[frame->found] : "?";

		if (frame->pc)
			seq_printf(m, "%s %ps\n", found, (void *)(unsigned long)(frame->pc - !frame->exact));
		else
			seq_printf(m, "%s -\n", found);
	}
}

void stacks_print_kernel(struct seq_file *m, const struct stacks_walk *walk)
{
	static const char *const matches[] = {
		[STACKS_EQUAL] = "equal", [STACKS_FEWER] = "fewer", [STACKS_DIFFERENT] = "different",
	};
	unsigned int i;

	if (walk->running)
		seq_puts(m, "running\n");
	else if (walk->kernel_result < 0)
		seq_puts(m, "unreliable\n");
	else
		seq_printf(m, "%s %s\n", kernel_is_reliable ? "reliable" : "best-effort",
			   walk->result ? "-" : matches[stacks_compare(walk)]);
	for (i = 0; i < walk->kernel_count; i++)
		seq_printf(m, "- %pB\n", (void *)walk->kernel[i]);
}
