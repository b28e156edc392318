// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* User tasks that sleep in a page fault of the kernel's own access, and at their exit. */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>

#include "stacks.h"

vm_fault_t stacks_fault(struct vm_fault *fault);
unsigned long stacks_copy(void *to, const void __user *from, size_t size);
unsigned long stacks_get(u64 *to, const u64 __user *from);
int stacks_exit(struct inode *inode, struct file *file);

/* Maps a page whose contents arrive when the tasks are released. */
STACKS_FUNC vm_fault_t stacks_fault(struct vm_fault *fault)
{
	stacks_sleep_here();
	fault->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return fault->page ? 0 : VM_FAULT_OOM;
}

static const struct vm_operations_struct fault_ops = { .fault = stacks_fault };

static int fault_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &fault_ops;
	return 0;
}

/* By the architecture's copy routine, for a size that the compiler does not know. */
STACKS_FUNC unsigned long stacks_copy(void *to, const void __user *from, size_t size)
{
	unsigned long left = copy_from_user(to, from, size);

	STACKS_NO_TAIL_CALL(left);
	return left;
}

/* By its way to read one word. */
STACKS_FUNC unsigned long stacks_get(u64 *to, const u64 __user *from)
{
	int error = get_user(*to, from);

	STACKS_NO_TAIL_CALL(error);
	return error ? sizeof(*to) : 0;
}

/* In a mapping that is made for it: a reader needs no code for it. */
static ssize_t fault_read(struct file *file, bool copy)
{
	unsigned long addr = vm_mmap(file, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE, 0);
	unsigned long left;
	u64 words[8];

	if (IS_ERR_VALUE(addr))
		return addr;
	if (copy)
		left = stacks_copy(words, (const void __user *)addr, sizeof(words));
	else
		left = stacks_get(words, (const u64 __user *)addr);
	vm_munmap(addr, PAGE_SIZE);
	return left ? -EFAULT : 0;
}

static ssize_t copy_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	return fault_read(file, true);
}

static ssize_t get_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	return fault_read(file, false);
}

/* Of a file that the task has open when it exits. */
STACKS_FUNC int stacks_exit(struct inode *inode, struct file *file)
{
	int result = stacks_sleep_here();

	STACKS_NO_TAIL_CALL(result);
	return result;
}

static const struct proc_ops copy_ops = { .proc_read = copy_read, .proc_mmap = fault_mmap };
static const struct proc_ops get_ops = { .proc_read = get_read, .proc_mmap = fault_mmap };
static const struct proc_ops exit_ops = { .proc_release = stacks_exit };

int stacks_user_init(struct proc_dir_entry *directory)
{
	if (!proc_create("fault-copy", 0400, directory, &copy_ops) ||
	    !proc_create("fault-get", 0400, directory, &get_ops) || !proc_create("exit", 0400, directory, &exit_ops))
		return -ENOMEM;
	return 0;
}
