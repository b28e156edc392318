/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The patch API, source compatible with the kernel's own <linux/livepatch.h>: a livepatch module written for the kernel
 * compiles against this header unchanged, and is then carried by klp.ko in place of CONFIG_LIVEPATCH.
 *
 * The documented members keep their names and meaning; see Documentation/livepatch/livepatch.rst, "Livepatch API".
 * Members marked "SDK" are additions that an unmodified module never sets.
 */
#ifndef _KLP_LINUX_LIVEPATCH_H
#define _KLP_LINUX_LIVEPATCH_H

/* The kernel's header brings the first four, and modules rely on it. */
#include <linux/completion.h>
#include <linux/ftrace.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/bits.h>
#include <linux/static_call.h>
#include <linux/types.h>

/*
 * The kernel's names are taken where it has livepatch of its own.
 */
#define klp_get_state		klp_sdk_get_state
#define klp_get_prev_state	klp_sdk_get_prev_state
#define klp_shadow_get		klp_sdk_shadow_get
#define klp_shadow_alloc	klp_sdk_shadow_alloc
#define klp_shadow_get_or_alloc	klp_sdk_shadow_get_or_alloc
#define klp_shadow_free		klp_sdk_shadow_free
#define klp_shadow_free_all	klp_sdk_shadow_free_all

struct klp_object;

/**
 * struct klp_original - lets a replacement call the function it replaces
 * @caller:	the only function from which calls reach the original
 * @func:	address of the original function, filled in when the patch is taken in
 * @key:	the static call that is pointed at it, where the architecture has them; or NULL
 * @tramp:	the static call's trampoline
 *
 * SDK. Defined with KLP_ORIGINAL() or KLP_ORIGINAL_VOID(), named in klp_func.original.
 */
struct klp_original {
	void *caller;
	void *func;
	struct static_call_key *key;
	void *tramp;
};

/**
 * struct klp_func - a function to be replaced
 * @old_name:	name of the function to be replaced
 * @new_func:	pointer to the replacement
 * @old_sympos:	position of the symbol among those of that name in its object, in the order of kallsyms, from 1; 0 if
 *		there is only one
 * @original:	SDK: how the replacement calls the original; may be NULL
 * @old_func:	address of the function, filled in once it is known
 */
struct klp_func {
	const char *old_name;
	void *new_func;
	unsigned long old_sympos;
	struct klp_original *original;
	void *old_func;
};

/**
 * struct klp_callbacks - called around (un)patching an object
 * @pre_patch:		before it is patched; an error refuses the patch, or the module that is being loaded
 * @post_patch:		after it was patched, and the transition is complete
 * @pre_unpatch:	before it is unpatched
 * @post_unpatch:	after it was unpatched, and the transition is complete
 * @post_unpatch_enabled: the kernel's own; not used here
 */
struct klp_callbacks {
	int (*pre_patch)(struct klp_object *obj);
	void (*post_patch)(struct klp_object *obj);
	void (*pre_unpatch)(struct klp_object *obj);
	void (*post_unpatch)(struct klp_object *obj);
	bool post_unpatch_enabled;
};

/**
 * struct klp_object - vmlinux or a module whose functions are replaced
 * @name:	the module's name; NULL for vmlinux
 * @funcs:	its functions; the last one has neither name nor replacement
 * @callbacks:	may all be NULL
 * @mod:	the module, while it is loaded; NULL for vmlinux
 * @patched:	whether its functions are replaced now
 */
struct klp_object {
	const char *name;
	struct klp_func *funcs;
	struct klp_callbacks callbacks;
	struct module *mod;
	bool patched;
};

/**
 * struct klp_state - something that a patch changes in the system and that its functions do not hold
 * @id:		what is changed, a number that patches agree on; not 0
 * @version:	how; a later patch that changes it too must have this version or a newer one
 * @data:	the patch's own
 *
 * Documentation/livepatch/system-state.rst.
 */
struct klp_state {
	unsigned long id;
	unsigned int version;
	void *data;
};

/*
 * SDK: klp_patch.flags, the consistency model: when a task may be switched from the old functions to the new ones, and
 * what is switched at once. The words are those of the discussion from which the kernel's own model came
 * (reference/2014-consistency-models.txt).
 *
 *	flags						leave			switch
 *
 *	0						LEAVE_PATCHED_SET	SWITCH_THREAD	the kernel's livepatch
 *	KLP_IMMEDIATE					LEAVE_FUNCTION		SWITCH_FUNCTION
 *	KLP_CONSISTENT_IN_THREAD			LEAVE_KERNEL		SWITCH_THREAD	kGraft
 *	KLP_CONSISTENT_IN_TIME				LEAVE_PATCHED_SET	SWITCH_KERNEL	kpatch
 *	KLP_CONSISTENT_IN_THREAD | KLP_CONSISTENT_IN_TIME	LEAVE_KERNEL	SWITCH_KERNEL	a checkpoint
 *
 * LEAVE_FUNCTION: a task may run the other version from its next call on. LEAVE_PATCHED_SET: not while one of the
 * functions that change is on its stack. LEAVE_KERNEL: only at the border to user mode; a task that has none, as the set.
 * SWITCH_FUNCTION: each function for itself, for everybody. SWITCH_THREAD: all functions, each task for itself.
 * SWITCH_KERNEL: all functions, for everybody, at one moment.
 *
 * Any other value is refused: a model that is asked for is never replaced by another.
 */
#define KLP_IMMEDIATE			BIT(0)
#define KLP_CONSISTENT_IN_THREAD	BIT(1)
#define KLP_CONSISTENT_IN_TIME		BIT(2)

/**
 * struct klp_patch - a live patch
 * @mod:	the patch module
 * @objs:	the objects it changes; the last one has neither name nor functions
 * @states:	the system states it changes; the last one has the id 0. May be NULL
 * @replace:	takes the place of all patches enabled before
 * @flags:	SDK: the consistency model
 * @enabled:	whether it is enabled
 * @id:		SDK: how the engine names it
 * @older:	SDK: the engine's; the patch enabled before it
 */
struct klp_patch {
	struct module *mod;
	struct klp_object *objs;
	struct klp_state *states;
	bool replace;
	unsigned int flags;
	bool enabled;
	u32 id;
	struct klp_patch *older;
};

#define klp_for_each_object_static(patch, obj) \
	for ((obj) = (patch)->objs; (obj)->funcs || (obj)->name; (obj)++)

#define klp_for_each_func_static(obj, func) \
	for ((func) = (obj)->funcs; (func)->old_name || (func)->new_func || (func)->old_sympos; (func)++)

/* The kernel's lists hold what it added itself, too. There is nothing of that kind here. */
#define klp_for_each_object(patch, obj)	klp_for_each_object_static(patch, obj)
#define klp_for_each_func(obj, func)	klp_for_each_func_static(obj, func)

/*
 * SDK: what `cargo klp build` makes of references to symbols that are not exported (docs/src/relocations.md). A patch without such
 * references has zeroes there.
 */
#define KLP_RELOCATIONS_FORMAT 1

struct klp_reloc_symbol {
	const char *object;	/* NULL for vmlinux */
	const char *name;
	u64 position;
	/*
	 * If the symbol table does not list it: it is `offset` bytes behind the function `anchor`, in the build in which
	 * `witness` is `distance` bytes behind that. NULL if that is not known.
	 */
	const char *anchor;
	s64 offset;
	const char *witness;
	s64 distance;
};

struct klp_reloc {
	u64 place;
	s64 addend;
	u32 type;
	u32 symbol;		/* which of the symbols */
	u32 room;		/* bytes from the place to the end of its section */
	u32 reserved;
};

struct klp_relocations {
	u64 format;
	const struct klp_reloc *relocs;
	u64 reloc_count;
	const struct klp_reloc_symbol *symbols;
	u64 symbol_count;
	void *slots;
	u64 slot_count;
};

int klp_sdk_enable_patch(struct klp_patch *patch, const struct klp_relocations *relocations);

/*
 * Takes in and enables a patch. To be called from the patch module's init function, which returns its result; may
 * sleep. 0, or a negative error number after a line in the kernel log that says why; the kernel is then as it was.
 */
static inline int klp_enable_patch(struct klp_patch *patch)
{
	static const struct klp_relocations relocations __section(".klp.relocations");

	return klp_sdk_enable_patch(patch, &relocations);
}

/*
 * SDK: KLP_RELOC_SYMBOL(object, name, position) says which symbol the name of a function or variable that is not exported
 * stands for, in the whole patch: of `object`, a module's name or vmlinux, the one at `position` among those of that name, in
 * the order of kallsyms, from 1; 0 if there is only one. Without it a name stands for the only one of vmlinux. With
 * KLP_RELOC_SYMBOL_AS the patch has its own name for it.
 *
 *	extern int test_helper(int value);
 *	KLP_RELOC_SYMBOL(test_target, test_helper, 0);
 */
#define KLP_RELOC_SYMBOL(object, name, position) KLP_RELOC_SYMBOL_AS(name, object, name, position)
#define KLP_RELOC_SYMBOL_AS(identifier, object, name, position)					\
	asm(".pushsection .note.klp.declared, \"\"\n"						\
	    "\t.asciz \"" #identifier "\", \"" #object "\", \"" #name "\", \"" #position "\"\n"	\
	    "\t.popsection")

/*
 * The patch's own entry for a system state; NULL if it has none.
 */
struct klp_state *klp_get_state(struct klp_patch *patch, unsigned long id);

/*
 * The entry of the newest patch that declares the state, of those that were enabled before the patch that is being enabled
 * or disabled now; NULL if there is none. To be called from callbacks: what is in transition does not change
 * meanwhile. Outside of a transition there is no "before": it warns, and returns NULL.
 */
struct klp_state *klp_get_prev_state(unsigned long id);

/*
 * Shadow variables: data attached to an object of the kernel's without a change to it, found again by the object's address
 * and a number. Documentation/livepatch/shadow-vars.rst; docs/src/writing-a-patch.md.
 */

/* Runs with interrupts off and a spinlock held, once, before anybody can find the variable; an error takes it back. */
typedef int (*klp_shadow_ctor_t)(void *obj, void *shadow_data, void *ctor_data);
/* Runs with interrupts off and a spinlock held, when nobody finds the variable any more; readers may still have it. */
typedef void (*klp_shadow_dtor_t)(void *obj, void *shadow_data);

/*
 * The variable's data, or NULL. Any context in which RCU watches, NMI included; takes no lock. The variable does not
 * outlive its klp_shadow_free(): whoever calls that has to know that nobody uses the data any more, or readers are in an RCU
 * read-side critical section that includes the use.
 */
void *klp_shadow_get(void *obj, unsigned long id);

/*
 * Attaches a variable, zeroed and then given to @ctor, if any, with @ctor_data. Any context but NMI, as far as @gfp_flags
 * allow. NULL if there is no memory, if @ctor returned an error, or, with a warning, if the object has this variable.
 */
void *klp_shadow_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags, klp_shadow_ctor_t ctor,
		       void *ctor_data);

/* As that, but a variable that is there is the answer, and @ctor is not called. */
void *klp_shadow_get_or_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags, klp_shadow_ctor_t ctor,
			      void *ctor_data);

/* Detaches the variable, if there is one, gives it to @dtor, if any, and frees it after a grace period. Not in NMI. */
void klp_shadow_free(void *obj, unsigned long id, klp_shadow_dtor_t dtor);

/* As that, for the variables @id of all objects. */
void klp_shadow_free_all(unsigned long id, klp_shadow_dtor_t dtor);

/* SDK: GFP_KERNEL or GFP_ATOMIC, for patches in Rust. Their values differ between kernels. */
gfp_t klp_sdk_gfp(bool may_sleep);

/*
 * KLP_ORIGINAL(type, name, (parameters), (arguments)) defines klp_original_NAME(), which calls the function `name` that
 * a replacement stands in for, past the redirect; KLP_ORIGINAL_VOID is for functions without a result. The klp_func
 * says `.original = &KLP_ORIGINAL_OF(name)`. Callable once the patch is enabled, from its replacements.
 *
 *	KLP_ORIGINAL(int, cmdline_proc_show, (struct seq_file *m, void *v), (m, v));
 *
 * The engine lets calls whose return address lies in the caller's body through, hence noinline, no clones, and no tail
 * call (the empty asm behind the call). The call is a static call: a direct one, where the architecture patches them,
 * since a function whose address the kernel never takes has no landing pad for an indirect one (x86 with IBT).
 */
#define KLP_ORIGINAL_OF(name) klp_original_of_##name

#ifdef CONFIG_HAVE_STATIC_CALL
#define __KLP_ORIGINAL(name, type, parameters)						\
	DEFINE_STATIC_CALL_NULL(klp_original_call_##name, *(type (*)parameters)NULL);	\
	static struct klp_original KLP_ORIGINAL_OF(name) = {				\
		.caller = klp_original_##name,						\
		.key = &STATIC_CALL_KEY(klp_original_call_##name),			\
		.tramp = STATIC_CALL_TRAMP_ADDR(klp_original_call_##name),		\
	}
#define __KLP_ORIGINAL_CALL(name, type, parameters) static_call(klp_original_call_##name)
#else
#define __KLP_ORIGINAL(name, type, parameters)						\
	static struct klp_original KLP_ORIGINAL_OF(name) = { .caller = klp_original_##name }
#define __KLP_ORIGINAL_CALL(name, type, parameters)					\
	((type (*)parameters)READ_ONCE(KLP_ORIGINAL_OF(name).func))
#endif

#define KLP_ORIGINAL(type, name, parameters, arguments)					\
	static noinline __noclone notrace type klp_original_##name parameters;		\
	__KLP_ORIGINAL(name, type, parameters);						\
	static noinline __noclone notrace type klp_original_##name parameters		\
	{										\
		type klp_result_ = __KLP_ORIGINAL_CALL(name, type, parameters)arguments;	\
		asm volatile("" : : : "memory");					\
		return klp_result_;							\
	}										\
	static_assert(true)

#define KLP_ORIGINAL_VOID(name, parameters, arguments)					\
	static noinline __noclone notrace void klp_original_##name parameters;		\
	__KLP_ORIGINAL(name, void, parameters);						\
	static noinline __noclone notrace void klp_original_##name parameters		\
	{										\
		__KLP_ORIGINAL_CALL(name, void, parameters)arguments;			\
		asm volatile("" : : : "memory");					\
	}										\
	static_assert(true)

/*
 * MODULE_INFO(livepatch, "Y") marks a module for the kernel's own livepatch: a kernel without CONFIG_LIVEPATCH refuses to
 * load it (check_modinfo_livepatch in kernel/module/main.c), one with it would treat the module as its own. The tag
 * becomes klp_livepatch; every other tag stays as it is.
 */
#define __KLP_TAG_livepatch	~, klp_livepatch
#define __KLP_SECOND(first, second, ...) second
#define __KLP_TAG(probe, tag)	__KLP_SECOND(probe, tag, ~)
#define __KLP_INFO(tag, info)	__KLP_INFO_(tag, info)
#define __KLP_INFO_(tag, info)	__MODULE_INFO(tag, tag, info)
#undef MODULE_INFO
#define MODULE_INFO(tag, info)	__KLP_INFO(__KLP_TAG(__KLP_TAG_##tag, tag), info)

#endif /* _KLP_LINUX_LIVEPATCH_H */
