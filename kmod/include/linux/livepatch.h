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

#include <linux/module.h>
#include <linux/static_call.h>
#include <linux/types.h>

/*
 * The kernel's name is taken where it has livepatch of its own.
 */
#define klp_enable_patch klp_sdk_enable_patch

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
 * @post_patch:		after it was patched
 * @pre_unpatch:	before it is unpatched
 * @post_unpatch:	after it was unpatched
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
 * @mod:	the module, while it is loaded and patched
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
 * struct klp_patch - a live patch
 * @mod:	the patch module
 * @objs:	the objects it changes; the last one has neither name nor functions
 * @replace:	takes the place of all patches enabled before
 * @enabled:	whether it is enabled
 * @id:		SDK: how the engine names it
 */
struct klp_patch {
	struct module *mod;
	struct klp_object *objs;
	bool replace;
	bool enabled;
	u32 id;
};

#define klp_for_each_object_static(patch, obj) \
	for ((obj) = (patch)->objs; (obj)->funcs || (obj)->name; (obj)++)

#define klp_for_each_func_static(obj, func) \
	for ((func) = (obj)->funcs; (func)->old_name || (func)->new_func || (func)->old_sympos; (func)++)

/*
 * Takes in and enables a patch. To be called from the patch module's init function, which returns its result; may
 * sleep. 0, or a negative error number after a line in the kernel log that says why; the kernel is then as it was.
 */
int klp_enable_patch(struct klp_patch *patch);

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
