// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* klp.ko: loading and unloading, memory, the lock, the log. */
#define pr_fmt(fmt) "livepatch: " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/livepatch.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "shim.h"

/* Mirrored in patch/src/abi.rs. */
static_assert(sizeof(struct klp_original) == 32);
static_assert(sizeof(struct klp_func) == 40);
static_assert(offsetof(struct klp_object, patched) == 64 && sizeof(struct klp_object) == 72);
static_assert(offsetof(struct klp_state, data) == 16 && sizeof(struct klp_state) == 24);
static_assert(offsetof(struct klp_patch, flags) == 28 && offsetof(struct klp_patch, enabled) == 32);
static_assert(sizeof(struct klp_reloc_symbol) == 56 && sizeof(struct klp_reloc) == 32);
static_assert(sizeof(struct klp_relocations) == 56);
static_assert(offsetof(struct klp_patch, id) == 36 && sizeof(struct klp_patch) == 48);

static DEFINE_MUTEX(klp_mutex);

int klp_shim_fail_nth;
module_param_named(fail_nth, klp_shim_fail_nth, int, 0600);
MODULE_PARM_DESC(fail_nth, "fault injection: the Nth allocation from now fails, once; 0 for none");

/* As SIGNALS_TIMEOUT in kernel/livepatch/transition.c. */
unsigned int klp_shim_signal_after_ms = 15000;
module_param_named(signal_after_ms, klp_shim_signal_after_ms, uint, 0600);
MODULE_PARM_DESC(signal_after_ms, "milliseconds after which tasks that hold a transition up are woken");

void *klp_shim_alloc(size_t size)
{
	return kvzalloc(size, GFP_KERNEL);
}

void klp_shim_free(const void *memory)
{
	kvfree(memory);
}

void klp_shim_log(enum klp_log level, const char *line)
{
	switch (level) {
	case KLP_LOG_ERROR:
		pr_err("%s\n", line);
		break;
	case KLP_LOG_WARNING:
		pr_warn("%s\n", line);
		break;
	case KLP_LOG_NOTICE:
		pr_notice("%s\n", line);
		break;
	case KLP_LOG_DEBUG:
		printk(KERN_DEBUG pr_fmt("%s\n"), line);
		break;
	case KLP_LOG_HINT:
		printk(KERN_NOTICE "klp: %s\n", line);
	}
}

void klp_shim_lock(void)
{
	mutex_lock(&klp_mutex);
}

void klp_shim_unlock(void)
{
	mutex_unlock(&klp_mutex);
}

void klp_shim_sleep(unsigned int ms)
{
	msleep(ms);
}

/* A thread of our own: one of a workqueue's would hold up, by looking, each patch of the functions that lead to its work. */
static struct kthread_worker *klp_worker;
static struct kthread_delayed_work klp_work;

static void klp_do_work(struct kthread_work *work)
{
	unsigned int again;

	klp_shim_search_from(__builtin_frame_address(0));
	again = klp_rs_work();
	/* Does nothing if somebody has asked for it meanwhile, who may want it sooner. */
	if (again)
		kthread_queue_delayed_work(klp_worker, &klp_work, msecs_to_jiffies(again));
}

void klp_shim_schedule_work(unsigned int delay_ms)
{
	kthread_mod_delayed_work(klp_worker, &klp_work, msecs_to_jiffies(delay_ms));
}

u64 klp_shim_now_ms(void)
{
	return ktime_to_ms(ktime_get());
}

/* For tests. */
bool klp_shim_out_of_reach;
module_param_named(out_of_reach, klp_shim_out_of_reach, bool, 0600);
MODULE_PARM_DESC(out_of_reach, "every branch of a patch to a symbol that is not exported goes through a slot, near or far, and arm64's direct calls go as if it were far");

const bool klp_shim_lists_data = IS_ENABLED(CONFIG_KALLSYMS_ALL);

int klp_sdk_enable_patch(struct klp_patch *patch, const struct klp_relocations *relocations)
{
	return klp_rs_enable_patch(patch, relocations);
}
EXPORT_SYMBOL_GPL(klp_sdk_enable_patch);

void klp_shim_set_original(struct klp_original *original, void *func)
{
	WRITE_ONCE(original->func, func);
#ifdef CONFIG_HAVE_STATIC_CALL
	if (original->key && func)
		__static_call_update(original->key, original->tramp, func);
#endif
}

int klp_shim_object_callback(struct klp_object *obj, enum klp_callback which)
{
	switch (which) {
	case KLP_PRE_PATCH:
		return obj->callbacks.pre_patch ? obj->callbacks.pre_patch(obj) : 0;
	case KLP_POST_PATCH:
		if (obj->callbacks.post_patch)
			obj->callbacks.post_patch(obj);
		return 0;
	case KLP_PRE_UNPATCH:
		if (obj->callbacks.pre_unpatch)
			obj->callbacks.pre_unpatch(obj);
		return 0;
	default: /* KLP_POST_UNPATCH */
		if (obj->callbacks.post_unpatch)
			obj->callbacks.post_unpatch(obj);
		return 0;
	}
}

static int __init klp_init(void)
{
	int ret = klp_shim_kallsyms_init();

	klp_shim_ftrace_init();
	if (!ret)
		ret = klp_shim_text_init();
	if (!ret)
		ret = klp_shim_leave_init();
	if (ret)
		return ret;
	klp_shim_patch_text_init();
	kthread_init_delayed_work(&klp_work, klp_do_work);
	klp_worker = kthread_create_worker(0, KBUILD_MODNAME);
	if (IS_ERR(klp_worker))
		return PTR_ERR(klp_worker);
	ret = klp_shim_sysfs_init();
	if (ret)
		goto no_sysfs;
	ret = klp_shim_modules_init();
	if (ret)
		goto no_modules;
	klp_shim_stacks_init();
	return 0;

no_modules:
	klp_shim_sysfs_exit();
no_sysfs:
	kthread_destroy_worker(klp_worker);
	return ret;
}

/* Patch modules use our exports, so none of them is left. */
static void __exit klp_exit(void)
{
	klp_shim_modules_exit();
	klp_shim_stacks_exit();
	kthread_cancel_delayed_work_sync(&klp_work);
	kthread_destroy_worker(klp_worker);
	klp_shim_leave_exit();
	klp_shim_sysfs_exit();
	klp_shim_search_from(__builtin_frame_address(0));
	klp_rs_exit();
}

module_init(klp_init);
module_exit(klp_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patching on any kernel with ftrace");
