// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Functions with a slot of their own, which ftrace does not know: while something has to be decided for each call, the slot leads
 * to a thunk here, which calls the redirect callback as ftrace's trampoline does. src/slot.rs fills slots and flips entries.
 */
#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/static_call.h>

#include "hook.h"

/* The architecture's slot.S has so many thunks. */
#define KLP_THUNKS 64

struct klp_range klp_shim_thunk_text;

#ifdef KLP_SLOT
extern char klp_thunks[], klp_thunk_common[], klp_thunks_end[];

/* How slot.S lays the registers out. */
const struct klp_regs_layout klp_shim_slot_layout = {
	.size = KLP_SLOT_REGS_SIZE,
	.pc = 0,
	.sp = 8,
	.ra = 16,
	.gprs = KLP_ABSENT,
};

static struct klp_thunk {
	void *redirect;
	u64 resume;
} klp_taken[KLP_THUNKS];

/* Under the engine's lock. */
static DECLARE_BITMAP(klp_thunks_taken, KLP_THUNKS);

/* Called by the thunks. `regs` begins with the resume address. Nothing it calls can be traced. */
void notrace klp_thunk_handler(unsigned int index, u64 *regs);
void notrace klp_thunk_handler(unsigned int index, u64 *regs)
{
	const struct klp_thunk *thunk = &klp_taken[index];

	preempt_disable_notrace();
	regs[0] = thunk->resume;
	/* A return probe sits at the entry itself, ftrace or not. */
	klp_rs_redirect_slot(thunk->redirect, klp_unprobed_caller(regs[2]), regs, (u64)current);
	preempt_enable_notrace();
}

u64 klp_shim_thunk_take(void *redirect, u64 resume)
{
	unsigned int index = find_first_zero_bit(klp_thunks_taken, KLP_THUNKS);

	if (index == KLP_THUNKS)
		return 0;
	__set_bit(index, klp_thunks_taken);
	klp_taken[index] = (struct klp_thunk){ redirect, resume };
	/* Before anybody can come here. */
	smp_wmb();
	return (u64)klp_thunks + index * ((klp_thunk_common - klp_thunks) / KLP_THUNKS);
}

void klp_shim_thunk_give(u64 thunk)
{
	size_t size = (klp_thunk_common - klp_thunks) / KLP_THUNKS;

	__clear_bit((thunk - (u64)klp_thunks) / size, klp_thunks_taken);
}

/*
 * Nobody else may hold the mutex of kprobes, and kernels without CONFIG_KALLSYMS_ALL do not say where it is. Those who list the places
 * where none may be, for debugfs, take it first and give it back at the end.
 */
DEFINE_STATIC_CALL_NULL(klp_probes_lock, *(void *(*)(struct seq_file *, loff_t *))NULL);
DEFINE_STATIC_CALL_NULL(klp_probes_unlock, *(void (*)(struct seq_file *, void *))NULL);
static bool klp_can_lock_probes;

bool klp_shim_probes_lock(void)
{
	loff_t first = 0;

	if (klp_can_lock_probes)
		static_call(klp_probes_lock)(NULL, &first);
	return klp_can_lock_probes;
}

void klp_shim_probes_unlock(void)
{
	static_call(klp_probes_unlock)(NULL, NULL);
}

void klp_slot_init(void)
{
	u64 lock = klp_shim_lookup("kprobe_blacklist_seq_start");
	u64 unlock = klp_shim_lookup("kprobe_blacklist_seq_stop");

	klp_shim_thunk_text.start = (u64)klp_thunks;
	klp_shim_thunk_text.size = klp_thunks_end - klp_thunks;
	if (!lock || !unlock)
		return;
	static_call_update(klp_probes_lock, (void *)(unsigned long)lock);
	static_call_update(klp_probes_unlock, (void *)(unsigned long)unlock);
	klp_can_lock_probes = true;
}
#else
const struct klp_regs_layout klp_shim_slot_layout = {
	.pc = KLP_ABSENT, .sp = KLP_ABSENT, .ra = KLP_ABSENT, .gprs = KLP_ABSENT,
};

u64 klp_shim_thunk_take(void *redirect, u64 resume)
{
	return 0;
}

void klp_shim_thunk_give(u64 thunk)
{
}

bool klp_shim_probes_lock(void)
{
	return false;
}

void klp_shim_probes_unlock(void)
{
}

void klp_slot_init(void)
{
}
#endif

/* How often the entries are flipped with the engine's lock held. */
#define KLP_MAX_FLIPS 10000

static int klp_flips_set(void *data, u64 times)
{
	return times <= KLP_MAX_FLIPS ? klp_rs_flip(times) : -EINVAL;
}

DEFINE_DEBUGFS_ATTRIBUTE(klp_flips_ops, NULL, klp_flips_set, "%llu\n");

void klp_slot_debugfs(struct dentry *directory)
{
	debugfs_create_file("flips", 0200, directory, NULL, &klp_flips_ops);
}

/*
 * Returns when each call that had begun to go through a slot or a thunk is behind it: as ftrace_shutdown() in
 * kernel/trace/ftrace.c waits for those in its trampolines. Where code in which RCU does not watch cannot be traced, the first
 * does nothing in newer kernels; where no task is preempted in the kernel, the second is synchronize_rcu().
 */
void klp_shim_wait_for_calls(void)
{
	synchronize_rcu_tasks_rude();
	synchronize_rcu_tasks();
}
