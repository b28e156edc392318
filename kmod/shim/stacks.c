// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Stack walks for users, in /sys/kernel/debug/klp/stacks: every task's, or those of the pid that was written there.
 * In debugfs, since it is many lines and shows kernel addresses.
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/klp_stack.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/static_call.h>
#include <linux/stop_machine.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "shim.h"

/* Frames that are shown, and bytes of a verdict in words. */
#define KLP_SHOWN_FRAMES 256
#define KLP_VERDICT 128

DEFINE_STATIC_CALL_NULL(klp_call_held, *(int (*)(struct task_struct *, task_call_f, void *))NULL);
static bool klp_have_call_held;

static bool klp_stop_to_check;
module_param_named(stop_to_check, klp_stop_to_check, bool, 0600);
MODULE_PARM_DESC(stop_to_check, "look at tasks with the machine stopped only, as on kernels without task_call_func");

static struct dentry *klp_debug;

/* How many stacks transitions have walked. */
u64 klp_shim_walks;

/* Whose stacks are shown; 0: everybody's. */
static pid_t klp_shown_pid;

struct klp_walk {
	struct klp_stack stack;
	int ret;
	struct task_struct *task;
	char verdict[KLP_VERDICT];
	struct klp_stack_frame frames[KLP_SHOWN_FRAMES];
};

/* The tasks of one reading, as they were when it began. */
struct klp_tasks {
	size_t count;
	struct klp_walk walk;
	struct task_struct *tasks[];
};

bool klp_shim_call_held(struct task_struct *task, int (*call)(struct task_struct *, void *), void *data)
{
	if (!klp_have_call_held || READ_ONCE(klp_stop_to_check))
		return false;
	static_call(klp_call_held)(task, call, data);
	return true;
}

int klp_sdk_walk_stack(struct task_struct *task, struct klp_stack *stack)
{
	struct klp_task shown;

	klp_shim_show_task(&shown, task);
	return klp_rs_walk_stack(&shown, stack, NULL, 0);
}
EXPORT_SYMBOL_GPL(klp_sdk_walk_stack);

static int klp_walk_held(struct task_struct *task, void *data)
{
	struct klp_walk *walk = data;
	struct klp_task shown;

	klp_shim_show_task(&shown, task);
	walk->stack.frames = walk->frames;
	walk->stack.size = ARRAY_SIZE(walk->frames);
	walk->ret = klp_rs_walk_stack(&shown, &walk->stack, walk->verdict, sizeof(walk->verdict));
	return 0;
}

static int klp_walk_stopped(void *data)
{
	struct klp_walk *walk = data;

	return klp_walk_held(walk->task, walk);
}

static const char *const klp_found[] = {
	[KLP_STACK_START] = "start",
	[KLP_STACK_CHAIN] = "chain",
	[KLP_STACK_TABLE] = "table",
	[KLP_STACK_REGISTERS] = "registers",
	[KLP_STACK_GRAPH] = "graph",
	[KLP_STACK_PROBE] = "probe",
	[KLP_STACK_PATCH] = "patch",
};

static int klp_stacks_show(struct seq_file *file, void *at)
{
	struct klp_tasks *tasks = file->private;
	struct task_struct *task = *(struct task_struct **)at;
	struct klp_walk *walk = &tasks->walk;
	u32 i;

	walk->task = task;
	if (!klp_shim_call_held(task, klp_walk_held, walk))
		stop_machine(klp_walk_stopped, walk, NULL);
	seq_printf(file, "%d (%s) %s\n", task_pid_nr(task), task->comm, walk->verdict);
	for (i = 0; i < walk->stack.count; i++) {
		const struct klp_stack_frame *frame = &walk->frames[i];
		void *pc = (void *)(unsigned long)frame->pc;

		if (!frame->pc)
			seq_puts(file, "  (context switch)");
		else if (frame->exact)
			seq_printf(file, "  %pS", pc);
		else
			seq_printf(file, "  %pB", pc);
		seq_printf(file, " %s\n", klp_found[frame->found]);
	}
	klp_rs_report_stack();
	return 0;
}

static void *klp_stacks_start(struct seq_file *file, loff_t *pos)
{
	struct klp_tasks *tasks = file->private;

	return *pos < tasks->count ? &tasks->tasks[*pos] : NULL;
}

static void *klp_stacks_next(struct seq_file *file, void *at, loff_t *pos)
{
	++*pos;
	return klp_stacks_start(file, pos);
}

static void klp_stacks_stop(struct seq_file *file, void *at)
{
}

static const struct seq_operations klp_stacks_ops = {
	.start = klp_stacks_start,
	.next = klp_stacks_next,
	.stop = klp_stacks_stop,
	.show = klp_stacks_show,
};

static size_t klp_take_tasks(struct klp_tasks *tasks, size_t size, pid_t pid)
{
	struct task_struct *process, *task;
	size_t count = 0;
	int cpu;

	rcu_read_lock();
	for_each_process_thread(process, task) {
		if (pid && task_pid_nr(task) != pid)
			continue;
		if (count < size) {
			get_task_struct(task);
			tasks->tasks[count] = task;
		}
		count++;
	}
	rcu_read_unlock();
	/* Idle tasks are in no list. */
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		if (pid)
			break;
		if (count < size) {
			task = klp_shim_idle_task(cpu);
			get_task_struct(task);
			tasks->tasks[count] = task;
		}
		count++;
	}
	cpus_read_unlock();
	return count;
}

static void klp_drop_tasks(struct klp_tasks *tasks)
{
	while (tasks->count)
		put_task_struct(tasks->tasks[--tasks->count]);
	kvfree(tasks);
}

static int klp_stacks_release(struct inode *inode, struct file *file)
{
	klp_drop_tasks(((struct seq_file *)file->private_data)->private);
	return seq_release(inode, file);
}

static int klp_stacks_open(struct inode *inode, struct file *file)
{
	pid_t pid = READ_ONCE(klp_shown_pid);
	struct klp_tasks *tasks;
	size_t size = 64;
	int ret;

	for (;;) {
		size_t count;

		tasks = kvzalloc(struct_size(tasks, tasks, size), GFP_KERNEL);
		if (!tasks)
			return -ENOMEM;
		count = klp_take_tasks(tasks, size, pid);
		tasks->count = min(count, size);
		if (count <= size)
			break;
		klp_drop_tasks(tasks);
		size = count + count / 8;
	}
	ret = seq_open(file, &klp_stacks_ops);
	if (ret) {
		klp_drop_tasks(tasks);
		return ret;
	}
	((struct seq_file *)file->private_data)->private = tasks;
	return 0;
}

static ssize_t klp_stacks_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	pid_t pid;
	int ret = kstrtoint_from_user(from, size, 10, &pid);

	if (ret)
		return ret;
	if (pid < 0)
		return -EINVAL;
	WRITE_ONCE(klp_shown_pid, pid);
	return size;
}

static const struct file_operations klp_stacks_fops = {
	.owner = THIS_MODULE,
	.open = klp_stacks_open,
	.read = seq_read,
	.write = klp_stacks_write,
	.llseek = seq_lseek,
	.release = klp_stacks_release,
};

void klp_shim_stacks_init(void)
{
	u64 held = klp_shim_lookup("task_call_func");

	if (held)
		static_call_update(klp_call_held, (void *)(unsigned long)held);
	klp_have_call_held = held;
	/* Nothing depends on debugfs; where there is none, these do nothing. */
	klp_debug = debugfs_create_dir("klp", NULL);
	debugfs_create_file("stacks", 0600, klp_debug, NULL, &klp_stacks_fops);
	debugfs_create_u64("walks", 0400, klp_debug, &klp_shim_walks);
	klp_slot_debugfs(klp_debug);
}

void klp_shim_stacks_exit(void)
{
	debugfs_remove_recursive(klp_debug);
}
