/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The border between the C shim and the Rust engine.
 *
 * C holds what C alone can express (kernel macros, inlines, offsets, exports); every decision is on the Rust side. Each
 * function here is declared once more in src/ffi.rs: change both together. Unless said otherwise they may sleep.
 */
#ifndef _KLP_SHIM_H
#define _KLP_SHIM_H

#include <linux/module.h>
#include <linux/types.h>

struct ftrace_regs;
struct klp_hook;
struct klp_node;
struct klp_patch;
struct klp_relocations;
struct klp_object;
struct klp_original;
struct klp_shadow;
struct klp_stack;
struct klp_state;

/* Bytes that a hook keeps for the Rust side's FuncRedirect. */
#define KLP_REDIRECT_SIZE 96

/* Layout of the register block; mirrors RegsLayout in klp-core/src/ftrace.rs. */
struct klp_regs_layout {
	u16 size, pc, sp, ra, gprs;
};
#define KLP_ABSENT 0xffff

/* The running task's machine stack, and a value no other task has. */
struct klp_current {
	u64 stack, size, owner;
};

struct klp_range {
	u64 start, size;
};

/* Where the walk of a task's stack starts. */
enum klp_start {
	KLP_START_SWITCHED_OUT,	/* sp, pc, fp: as the context switch saved them */
	KLP_START_CALLER,	/* sp, pc, fp: of a caller, to which its callee returns */
	KLP_START_RUNNING,
	KLP_START_NO_STACK,	/* it has exited */
};

/*
 * A task that is held still. `stack`: its machine stack; `bottom`: see Unwind::step in klp-core; `owner`: as in struct
 * klp_current. Return addresses that the function-graph tracer took off the stack are in the `graph_size` bytes at `graph`. A
 * search of the words on its stack begins at `floor`.
 */
struct klp_task {
	struct task_struct *task;
	s32 pid;
	char comm[16];
	u32 start;
	u64 sp, pc, fp;
	u64 stack, size, bottom;
	u64 owner;
	u64 graph, graph_size;
	u64 floor;
	/* Whether it returns to user mode at times. */
	bool is_user;
	/* Whether the kernel booted in it: it came from text that has been discarded since. */
	bool booted;
};

struct klp_module {
	const char *name;
	struct klp_range text;
};

/* The sysfs attributes; the numbers are shared with src/control.rs. */
enum klp_attr {
	KLP_ATTR_ENABLED,
	KLP_ATTR_TRANSITION,
	KLP_ATTR_REPLACE,
	KLP_ATTR_STACK_ORDER,
	KLP_ATTR_PATCHED,
	KLP_ATTR_FORCE,
	KLP_ATTR_ENTRY,
};

/* How calls of a function reach its replacement; KLP_ENTRY_NONE: nothing replaces it. */
enum klp_entry {
	KLP_ENTRY_NONE,
	KLP_ENTRY_CALLBACK,
	KLP_ENTRY_DIRECT,
	KLP_ENTRY_SLOT,
};

/* KLP_LOG_HINT: what the kernel's livepatch does not say. */
enum klp_log {
	KLP_LOG_ERROR,
	KLP_LOG_WARNING,
	KLP_LOG_NOTICE,
	KLP_LOG_DEBUG,
	KLP_LOG_HINT,
};

enum klp_callback {
	KLP_PRE_PATCH,
	KLP_POST_PATCH,
	KLP_PRE_UNPATCH,
	KLP_POST_UNPATCH,
};

enum klp_node_kind {
	KLP_NODE_PATCH,
	KLP_NODE_OBJECT,
	KLP_NODE_FUNC,
};

/* --- C, called by Rust ---------------------------------------------------------------------------------------------- */

extern const struct klp_regs_layout klp_shim_regs_layout;
/* Constant once the module is initialised; size 0 where there is no stub. */
extern struct klp_range klp_shim_return_stub_text;
/* As that: the stubs that ftrace calls directly. */
extern struct klp_range klp_shim_direct_text;
extern u64 klp_shim_walks;
extern int klp_shim_fail_nth;
extern bool klp_shim_out_of_reach;
extern const bool klp_shim_lists_data;

/* What there is of text; `graph` and `probe`: what is put in place of return addresses. Constant once initialised. */
struct klp_text {
	struct klp_range core, init, entry;
	/* Where CPUs begin, if it is in front of all other text. */
	struct klp_range head;
	struct klp_range graph, probe;
	/* ftrace's own trampolines, from which a callback's changes have yet to take effect. */
	struct klp_range ftrace[2];
};
extern struct klp_text klp_shim_text;
/* Where the architecture has entry code and ftrace's trampolines, if not where others do: symbols, up to a pair of NULL. */
extern const char *const klp_rs_entry_text[][2];
extern const char *const klp_rs_ftrace_text[][2];

/* An objtool table: `count` words at `ip`, as many entries at `entries`; `index_count` words at `index`, if any. */
struct klp_table {
	u64 ip, entries, count;
	u64 index, index_count, index_start, index_block;
};

void *klp_shim_alloc(size_t size);
void klp_shim_free(const void *memory);
void klp_shim_log(enum klp_log level, const char *line);

void klp_shim_lock(void);
void klp_shim_unlock(void);
void klp_shim_schedule_work(unsigned int delay_ms);
void klp_shim_sleep(unsigned int ms);

/* Any context. */
void klp_shim_current(struct klp_current *out);
u64 klp_shim_return_stub(void);
u64 klp_shim_owner(const struct task_struct *task);

size_t klp_shim_hook_size(void);
void klp_shim_hook_init(struct klp_hook *hook, u64 site, bool full_regs);
void *klp_shim_hook_redirect(struct klp_hook *hook);
int klp_shim_hook_arm(struct klp_hook *hook);
void klp_shim_hook_disarm(struct klp_hook *hook);
/* As klp-core's Hook. */
unsigned int klp_shim_hook_entry(const struct klp_hook *hook);
void klp_shim_hook_enter_cheaply(struct klp_hook *hook, u64 target);
int klp_shim_hook_enter_by_callback(struct klp_hook *hook);

/*
 * Functions with a slot of their own. _take: a thunk that calls klp_rs_redirect_slot() with this FuncRedirect, and a block that
 * says to go on at `resume`; 0 if none is left. It is given back when _wait_for_calls has returned since it was last reached.
 */
extern const struct klp_regs_layout klp_shim_slot_layout;
extern struct klp_range klp_shim_thunk_text;
u64 klp_shim_thunk_take(void *redirect, u64 resume);
void klp_shim_thunk_give(u64 thunk);
void klp_shim_wait_for_calls(void);
/* Between them no kprobe comes or goes. May sleep. False: this kernel has no way, and there is nothing to unlock. */
bool klp_shim_probes_lock(void);
void klp_shim_probes_unlock(void);
void klp_slot_debugfs(struct dentry *directory);

bool klp_shim_object_loaded(const char *name);
typedef bool (*klp_symbol_fn)(void *context, u64 addr);
/* `data`: not functions only, as far as others are listed. */
void klp_shim_each_symbol(const char *object, const char *name, bool data, klp_symbol_fn found, void *context);
u64 klp_shim_ftrace_location(u64 addr);
bool klp_shim_has_probe(u64 site);
bool klp_shim_read(void *to, u64 addr, size_t size);
u64 klp_shim_function_size(u64 addr);

void klp_shim_module_info(struct module *mod, struct klp_module *out);
bool klp_shim_module_get(struct module *mod);
void klp_shim_module_put(struct module *mod);

/* Lets the patch module reach the original; NULL while its object is not loaded. */
void klp_shim_set_original(struct klp_original *original, void *func);
int klp_shim_object_callback(struct klp_object *obj, enum klp_callback which);

/* `work` runs on one CPU while all others wait; it must not sleep. */
typedef void (*klp_work_fn)(void *context);
void klp_shim_stop_machine(klp_work_fn work, void *context);
/* The machine is stopped. Tasks that have exited may be left out. `each` ends it by returning false. */
typedef bool (*klp_task_fn)(void *context, struct task_struct *task);
void klp_shim_each_task(klp_task_fn each, void *context);
void klp_shim_show_stopped(struct klp_task *shown, struct task_struct *task);
/* `look` is called with the task held still; it must not sleep. False if that takes stopping the machine. */
typedef void (*klp_held_fn)(void *context, const struct klp_task *task);
bool klp_shim_hold(struct task_struct *task, klp_held_fn look, void *context);
/* About how many tasks there are. */
size_t klp_shim_task_count(void);
void klp_shim_pin(struct task_struct *task);
void klp_shim_unpin(struct task_struct *task);
u64 klp_shim_now_ms(void);
extern unsigned int klp_shim_signal_after_ms;
bool klp_shim_is_own(const char *object);

/* The task calls klp_rs_leaves() when it is about to return to user mode. */
int klp_shim_ask_to_leave(struct task_struct *task);
void klp_shim_ask_no_more(struct task_struct *task);
void klp_shim_gather(bool wait);
void klp_shim_wake(struct task_struct *task);
extern struct klp_range klp_shim_leave_text;
/* Entry code, which is not instrumented; size 0 if the kernel has none. Constant once initialised. */
extern struct klp_range klp_shim_noinstr_text;
/* Any context; `name` has room for KSYM_SYMBOL_LEN bytes. Returns the length. */
size_t klp_shim_symbol(u64 addr, char *name);
void klp_shim_wait_for_exits(void);

/* One line of `blocked`. `addr`: where it may return to, or 0 and `why` says it in a word. */
int klp_shim_show_blocked(char *line, size_t size, struct task_struct *task, u64 addr, const char *why, u64 ms);

/* Any context, the task held still. `keeper` is a ReturnTrampoline of klp-core: 0 graph, 1 probe. 0: no more. */
u64 klp_shim_pending_return(struct task_struct *task, unsigned int keeper, size_t nth);
/* Any context, preemption off. What is in no module's text but generated at run time is the second. */
bool klp_shim_is_module_text(u64 pc, struct klp_range *text);
bool klp_shim_is_generated_text(u64 pc);
/* Whether the kernel's unwind information is in tables; 1: the format has an end bit, 2: a signal bit. */
extern const u32 klp_shim_table_format;
bool klp_shim_module_table(u64 pc, struct klp_table *table);
extern struct klp_table klp_shim_core_table;

/* Any context in which RCU watches. */
void klp_shim_shadow_read_lock(void);
void klp_shim_shadow_read_unlock(void);
/* Any context but NMI. _new and _discard: as kzalloc and kfree; _free: after a grace period. */
unsigned long klp_shim_shadow_lock(void);
void klp_shim_shadow_unlock(unsigned long flags);
struct klp_shadow *klp_shim_shadow_new(size_t size, gfp_t gfp);
void klp_shim_shadow_discard(struct klp_shadow *shadow);
void klp_shim_shadow_free(struct klp_shadow *shadow);
/* What is said of variables: one that exists and must not, one that its constructor refused, some that are left. */
void klp_shim_shadow_exists(void *obj, unsigned long id);
void klp_shim_shadow_not_constructed(void *obj, unsigned long id, int err);
void klp_shim_shadow_left(unsigned long id, size_t count);

/*
 * Text and read-only data of modules, which is written while it is mapped a second time. Process context.
 *
 * _page_map: another mapping of the page that `addr` is in, NULL without memory. _text_written: what was written through it is
 * fit to be executed. _write_text: both for bytes that no CPU executes. 0 or a negative error number.
 */
extern const size_t klp_shim_page_size;
void *klp_shim_page_map(u64 addr);
void klp_shim_page_unmap(const void *mapped);
void klp_shim_text_written(u64 addr, size_t size);
int klp_shim_write_text(u64 addr, const void *from, size_t size);
/* An aligned doubleword that CPUs may be loading: they get the old value or the new one. */
int klp_shim_write_literal(u64 addr, u64 value);
/*
 * An instruction that CPUs may be executing: when this returns all of them execute the new one. On x86 a NOP, call or jump, as a
 * whole; elsewhere the aligned 1, 2 or 4 bytes of it that change, where the architecture permits that.
 */
int klp_shim_write_live(u64 addr, const void *code, size_t size);

size_t klp_shim_node_size(void);
/* Which patch, object of it, function of that: as far as the kind goes. */
struct klp_index {
	u32 patch, object, func;
};
int klp_shim_node_add(struct klp_node *node, struct klp_node *parent, unsigned int kind, struct klp_index index,
		      const char *name, u64 position);
void klp_shim_node_del(struct klp_node *node);

/* Tasks that never return to user mode. From 6.4 on vhost's workers are threads of the process they work for. */
#ifdef PF_USER_WORKER
#define KLP_NEVER_USER (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER)
#else
#define KLP_NEVER_USER (PF_KTHREAD | PF_IO_WORKER)
#endif

/* --- C, used by C --------------------------------------------------------------------------------------------------- */

void klp_shim_ftrace_init(void);
int klp_shim_kallsyms_init(void);
/* What a return probe puts in place of a return address; 0 if there are no return probes. */
extern u64 klp_shim_return_probe;
int klp_shim_modules_init(void);
void klp_shim_modules_exit(void);
int klp_shim_sysfs_init(void);
void klp_shim_sysfs_exit(void);
/* What calls Rust to search stacks says so first, with its own frame. */
void klp_shim_search_from(void *frame);
/* Under the engine's lock: the module's init function is still to return; it has, or never will; its functions may be patched. */
int klp_shim_module_comes(const struct module *mod);
void klp_shim_module_came(const struct module *mod);
bool klp_shim_module_alive(const struct module *mod);
/* Whatever its state; it stays as long as the caller, or who called it, keeps it. */
struct module *klp_shim_find_module(const char *name);
int klp_shim_leave_init(void);
void klp_shim_leave_exit(void);
/* False if the kernel cannot hold a task still without stopping the machine. */
bool klp_shim_call_held(struct task_struct *task, int (*call)(struct task_struct *, void *), void *data);
/* The task is held still. */
void klp_shim_show_task(struct klp_task *shown, struct task_struct *task);
/* 0 if the kernel has no such symbol. */
u64 klp_shim_lookup(const char *name);
/* As that, and logs what is missing. */
bool klp_shim_resolve(const char *name, u64 *addr);
int klp_shim_text_init(void);
void klp_shim_patch_text_init(void);
void klp_shim_stacks_init(void);
void klp_shim_stacks_exit(void);
/* With the machine stopped or interrupts off. */
struct task_struct *klp_shim_idle_task(int cpu);

/* --- Rust, called by C ---------------------------------------------------------------------------------------------- */

/* Any context, preemption off. */
void klp_rs_redirect(void *redirect, u64 caller, struct ftrace_regs *fregs, u64 task);
/* As that; the block is laid out as klp_shim_slot_layout says. */
void klp_rs_redirect_slot(void *redirect, u64 caller, void *regs, u64 task);
/*
 * The running task is about to return to user mode, if its callers say so, and is to wait there if it can. Answers whether
 * it waits. Preemption off.
 */
bool klp_rs_leaves(const struct klp_task *task, bool waits);
/* As that; the running task goes on by itself. */
void klp_rs_waits_no_more(u64 task);

int klp_rs_enable_patch(struct klp_patch *patch, const struct klp_relocations *relocations);
int klp_rs_module_coming(const char *name);
void klp_rs_module_live(const char *name);
void klp_rs_module_going(const char *name);
int klp_rs_attr_show(struct klp_index index, unsigned int attr, u64 *value);
int klp_rs_attr_store(u32 patch, unsigned int attr, bool value);
/* The lines of `blocked`, at most `size` bytes; how many were written. */
int klp_rs_blocked_show(u32 patch, char *lines, size_t size);
/* Goes on with transitions, and with patches that drain. Milliseconds after which to call again; 0: no need. */
/* Switches entries with slots off and on again; process context. */
int klp_rs_flip(unsigned int times);
unsigned int klp_rs_work(void);
void klp_rs_exit(void);
struct klp_state *klp_rs_get_state(struct klp_patch *patch, unsigned long id);
/* false if no patch is in transition. */
bool klp_rs_get_prev_state(unsigned long id, struct klp_state **previous);
/* Any context in which RCU watches. */
void *klp_rs_shadow_get(void *obj, unsigned long id);
/* Any context but NMI, the first as far as `gfp` allows. */
void *klp_rs_shadow_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp, int (*ctor)(void *, void *, void *),
			  void *ctor_data, bool or_get);
void klp_rs_shadow_free(void *obj, unsigned long id, void (*dtor)(void *, void *));
void klp_rs_shadow_free_all(unsigned long id, void (*dtor)(void *, void *));
/* Any context, the task held still; the verdict in words is written to `text`. As klp_sdk_walk_stack. */
int klp_rs_walk_stack(const struct klp_task *task, struct klp_stack *stack, char *text, size_t size);
/* Logs a walk that should have been reliable and was not, once for each reason. */
void klp_rs_report_stack(void);

#endif /* _KLP_SHIM_H */
