// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * /proc/test_stacks: tasks asleep at known places, and what walks of their stacks give.
 *
 *	park		write "KIND [DEPTH [COUNT]]": so many threads; read: process ids of all that are parked
 *	release		write anything: all go on, and threads end
 *	walk		write a process id; read: its walk by klp.ko
 *	kernel		read: that task's walk by the kernel, and whether the lists are equal
 *	spoil		write a process id: the first time its stack is broken, the next time mended
 *	compare		write a number; read: so many walks of all tasks by both, counted
 *	preempted	write a number; read: so many walks of spinning threads
 *	cost, cost-all	read: what walks cost
 *	bpf		read: whether the BPF program was compiled
 *	fault-copy, fault-get, exit	whoever reads, or opens, these is parked: see user.c
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "stacks.h"

/* What was written last. */
static pid_t chosen;
static unsigned long compare_walks = 1000, preempted_walks = 100;

static int show_walk(struct seq_file *m, void (*print)(struct seq_file *m, const struct stacks_walk *walk))
{
	struct pid *pid = find_get_pid(chosen);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);
	struct stacks_walk *walk;

	put_pid(pid);
	if (!task)
		return -ESRCH;
	walk = kzalloc(sizeof(*walk), GFP_KERNEL);
	if (walk) {
		stacks_walk(task, walk);
		print(m, walk);
	}
	put_task_struct(task);
	kfree(walk);
	return walk ? 0 : -ENOMEM;
}

static int walk_show(struct seq_file *m, void *v)
{
	return show_walk(m, stacks_print);
}

static int kernel_show(struct seq_file *m, void *v)
{
	return show_walk(m, stacks_print_kernel);
}

static int compare_show(struct seq_file *m, void *v)
{
	return stacks_compare_show(m, compare_walks);
}

static int preempted_show(struct seq_file *m, void *v)
{
	return stacks_preempted_show(m, preempted_walks);
}

static int park_write(struct file *file, char *text, size_t size)
{
	unsigned int depth = 1, count = 1;
	char kind[16];
	int ret = 0;

	if (sscanf(text, "%15s %u %u", kind, &depth, &count) < 1)
		return -EINVAL;
	while (!ret && count--)
		ret = stacks_park(kind, depth);
	return ret;
}

static int release_write(struct file *file, char *text, size_t size)
{
	return stacks_release();
}

static int walk_write(struct file *file, char *text, size_t size)
{
	return kstrtoint(text, 0, &chosen);
}

static int spoil_write(struct file *file, char *text, size_t size)
{
	struct stacks_walk *walk;
	struct task_struct *task;
	struct pid *pid;
	int ret = kstrtoint(text, 0, &chosen);

	if (ret)
		return ret;
	pid = find_get_pid(chosen);
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return -ESRCH;
	walk = kzalloc(sizeof(*walk), GFP_KERNEL);
	ret = walk ? stacks_spoil(task, walk) : -ENOMEM;
	kfree(walk);
	put_task_struct(task);
	return ret;
}

static int compare_write(struct file *file, char *text, size_t size)
{
	return kstrtoul(text, 0, &compare_walks);
}

static int preempted_write(struct file *file, char *text, size_t size)
{
	return kstrtoul(text, 0, &preempted_walks);
}

static const struct {
	const char *name;
	int (*show)(struct seq_file *m, void *v);
	int (*write)(struct file *file, char *text, size_t size);
} files[] = {
	{ "park", stacks_parked_show, park_write },
	{ "release", NULL, release_write },
	{ "walk", walk_show, walk_write },
	{ "kernel", kernel_show, walk_write },
	{ "spoil", NULL, spoil_write },
	{ "compare", compare_show, compare_write },
	{ "preempted", preempted_show, preempted_write },
	{ "cost", stacks_cost_show },
	{ "cost-all", stacks_cost_all_show },
	{ "bpf", stacks_bpf_show },
};

static int file_open(struct inode *inode, struct file *file)
{
	int number = (long)pde_data(inode);

	/* Larger than any list: what is shown is shown once, not again for a larger buffer. */
	return files[number].show ? single_open_size(file, files[number].show, NULL, 64 * 1024) :
				    single_open(file, NULL, NULL);
}

static ssize_t file_write(struct file *file, const char __user *buffer, size_t size, loff_t *offset)
{
	int number = (long)pde_data(file_inode(file));
	char *text;
	int ret;

	if (!files[number].write || size > 64)
		return -EINVAL;
	text = memdup_user_nul(buffer, size);
	if (IS_ERR(text))
		return PTR_ERR(text);
	ret = files[number].write(file, text, size);
	kfree(text);
	return ret ?: size;
}

static const struct proc_ops file_ops = {
	.proc_open = file_open,
	.proc_read = seq_read,
	.proc_write = file_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init stacks_init(void)
{
	struct proc_dir_entry *directory;
	long i;
	int ret = stacks_walk_init();

	if (ret)
		return ret;
	ret = stacks_bpf_init();
	if (ret)
		return ret;
	ret = -ENOMEM;
	directory = proc_mkdir("test_stacks", NULL);
	if (!directory)
		goto no_directory;
	for (i = 0; i < ARRAY_SIZE(files); i++)
		if (!proc_create_data(files[i].name, 0600, directory, &file_ops, (void *)i))
			goto no_file;
	ret = stacks_user_init(directory);
	if (!ret)
		return 0;
no_file:
	remove_proc_subtree("test_stacks", NULL);
no_directory:
	stacks_bpf_exit();
	return ret;
}

static void __exit stacks_exit_module(void)
{
	/* Waits for whoever reads a file. */
	stacks_release();
	remove_proc_subtree("test_stacks", NULL);
	stacks_bpf_exit();
}

module_init(stacks_init);
module_exit(stacks_exit_module);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: stacks of sleeping threads");
