// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * /proc/test_universe: tasks that call functions which are patched meanwhile, and which universe these were of.
 *
 *	which		read: the universe of universe_which()
 *	ten, pair	each read(2), of which there is no end, does work once, and sleeps in its middle; and then, for as many
 *			microseconds as the parameter "rest_us" says or up to twice as long, outside of what is patched
 *	tally		read: what that work came to; write anything: counted from 0
 *	sleep, nap	who reads it sleeps in a function that may be patched; then gets that function's universe, and that of
 *			universe_which() called after it in the same system call
 *	hold, wait	who reads it sleeps in the same two ways, but in no function that is patched; then gets the universe of
 *			universe_which() before and after
 *	intr		as nap, but a signal gives EINTR
 *	sleepers	read: the process ids of those that sleep
 *	release		write anything: all that sleep go on
 *	threads		write "KIND [COUNT]": starts threads, which "sleep", "nap" or just "rest"; read: what became of them;
 *			write "stop": they end
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "target.h"

static int which_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", universe_which());
	return 0;
}

static int show_after(struct seq_file *m, int universe)
{
	if (universe < 0)
		return universe;
	seq_printf(m, "%d %d\n", universe, universe_which());
	return 0;
}

static int sleep_show(struct seq_file *m, void *v)
{
	return show_after(m, universe_sleep());
}

static int nap_show(struct seq_file *m, void *v)
{
	return show_after(m, universe_nap());
}

static int intr_show(struct seq_file *m, void *v)
{
	int universe = universe_nap();

	return show_after(m, universe == -ERESTARTSYS ? -EINTR : universe);
}

static int show_around(struct seq_file *m, unsigned int state)
{
	int before = universe_which();
	int result = universe_asleep(state);

	return result ?: show_after(m, before);
}

static int hold_show(struct seq_file *m, void *v)
{
	return show_around(m, TASK_KILLABLE);
}

static int wait_show(struct seq_file *m, void *v)
{
	return show_around(m, TASK_INTERRUPTIBLE);
}

static int threads_write(char *text)
{
	if (!strncmp(text, "stop", 4)) {
		universe_threads_stop();
		return 0;
	}
	return universe_threads_start(text);
}

static const struct {
	const char *name;
	int (*show)(struct seq_file *m, void *v);
	int (*write)(char *text);
} files[] = {
	{ "which", which_show },
	{ "tally", universe_tally_show, universe_tally_reset },
	{ "sleep", sleep_show },
	{ "nap", nap_show },
	{ "intr", intr_show },
	{ "hold", hold_show },
	{ "wait", wait_show },
	{ "sleepers", universe_sleepers_show },
	{ "release", NULL, universe_release },
	{ "threads", universe_threads_show, threads_write },
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
	ret = files[number].write(text);
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

static ssize_t work_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	universe_work((long)pde_data(file_inode(file)));
	universe_rest();
	return size && put_user('.', buffer) ? -EFAULT : min_t(size_t, size, 1);
}

static const struct proc_ops work_ops = {
	.proc_read = work_read,
	.proc_lseek = noop_llseek,
};

static int __init universe_init(void)
{
	struct proc_dir_entry *directory = proc_mkdir("test_universe", NULL);
	long i;

	if (!directory)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(files); i++)
		if (!proc_create_data(files[i].name, 0600, directory, &file_ops, (void *)i))
			goto no_file;
	if (!proc_create_data("ten", 0400, directory, &work_ops, (void *)UNIVERSE_TEN) ||
	    !proc_create_data("pair", 0400, directory, &work_ops, (void *)UNIVERSE_PAIR))
		goto no_file;
	return 0;
no_file:
	remove_proc_subtree("test_universe", NULL);
	return -ENOMEM;
}

static void __exit universe_exit(void)
{
	universe_release(NULL);
	universe_threads_stop();
	/* Waits for whoever reads a file. */
	remove_proc_subtree("test_universe", NULL);
}

module_init(universe_init);
module_exit(universe_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: tasks in universes");
