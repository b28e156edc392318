// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Symbols that the kernel does not export, resolved once at load.
 *
 * They are called through static calls: where the architecture patches them they are direct calls, which need no landing
 * pad at their target. A function whose address the kernel never takes has none (sealed by objtool on x86 with IBT).
 */
/* What the kernel's livepatch does not say. */
#define pr_fmt(fmt) "klp: " fmt

#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/static_call.h>
#include <linux/string.h>

#include "shim.h"

DEFINE_STATIC_CALL_NULL(klp_lookup_name, *(unsigned long (*)(const char *))NULL);
DEFINE_STATIC_CALL_NULL(klp_lookup_size, *(int (*)(unsigned long, unsigned long *, unsigned long *))NULL);
DEFINE_STATIC_CALL_NULL(klp_ftrace_location, *(unsigned long (*)(unsigned long))NULL);
DEFINE_STATIC_CALL_NULL(klp_read_nofault, *(long (*)(void *, const void *, size_t))NULL);
DEFINE_STATIC_CALL_NULL(klp_find_module, *(struct module *(*)(const char *))NULL);
DEFINE_STATIC_CALL_NULL(klp_get_kprobe, *(struct kprobe *(*)(void *))NULL);
DEFINE_STATIC_CALL_NULL(klp_idle_task, *(struct task_struct *(*)(int))NULL);

#ifdef KLP_HAVE_MATCH_SYMBOL
DEFINE_STATIC_CALL_NULL(klp_each_match, *(int (*)(int (*)(void *, unsigned long), const char *, void *))NULL);
#define KLP_EACH_SYMBOL "kallsyms_on_each_match_symbol"
#else
typedef int (*klp_each_symbol_fn)(void *, const char *, struct module *, unsigned long);
DEFINE_STATIC_CALL_NULL(klp_each_symbol, *(int (*)(klp_each_symbol_fn, void *))NULL);
#define KLP_EACH_SYMBOL "kallsyms_on_each_symbol"
#endif

bool klp_shim_resolve(const char *name, u64 *addr)
{
	*addr = static_call(klp_lookup_name)(name);
	if (!*addr)
		pr_err("this kernel has no symbol '%s', which klp.ko needs: see docs/src/supported.md\n",
		       name);
	return *addr;
}

/* 0: no kprobe can be there. */
static unsigned long klp_probed_address(const char *name, unsigned int offset)
{
	struct kprobe probe = { .symbol_name = name, .offset = offset };

	if (register_kprobe(&probe))
		return 0;
	unregister_kprobe(&probe);
	return (unsigned long)probe.addr;
}

/*
 * Where a kprobe by name ends up need not be the function's address: it is behind an ENDBR on x86, behind the global
 * entry on ppc64; and where the function begins with ftrace's site, and kprobes are not on ftrace, there can be one
 * behind that only. The kernel's own symbol formatting says how far.
 */
static unsigned long klp_lookup_name_address(void)
{
	static const char name[] = "kallsyms_lookup_name";
	char symbol[KSYM_SYMBOL_LEN];
	unsigned long offset = 0;
	unsigned long addr;
	const char *plus;

	addr = klp_probed_address(name, 0) ?: klp_probed_address(name, MCOUNT_INSN_SIZE);
	if (!addr)
		return 0;
	sprint_symbol(symbol, addr);
	plus = strchr(symbol, '+');
	if (strncmp(symbol, name, sizeof(name) - 1) || !plus || sscanf(plus, "+0x%lx", &offset) != 1)
		return 0;
	return addr - offset;
}

u64 klp_shim_return_probe;

u64 klp_shim_lookup(const char *name)
{
	return static_call(klp_lookup_name)(name);
}

int klp_shim_kallsyms_init(void)
{
	unsigned long lookup = klp_lookup_name_address();
	u64 size, location, read, find, probe, idle, each;

	if (!lookup) {
		pr_err("cannot find kallsyms_lookup_name: CONFIG_KPROBES and CONFIG_KALLSYMS are needed\n");
		return -ENOENT;
	}
	static_call_update(klp_lookup_name, (unsigned long (*)(const char *))lookup);
	if (!klp_shim_resolve("kallsyms_lookup_size_offset", &size) || !klp_shim_resolve("ftrace_location", &location) ||
	    !klp_shim_resolve("copy_from_kernel_nofault", &read) || !klp_shim_resolve("find_module", &find) ||
	    !klp_shim_resolve("get_kprobe", &probe) || !klp_shim_resolve("idle_task", &idle) ||
	    !klp_shim_resolve(KLP_EACH_SYMBOL, &each))
		return -ENOENT;
	static_call_update(klp_lookup_size, (void *)(unsigned long)size);
	static_call_update(klp_ftrace_location, (void *)(unsigned long)location);
	static_call_update(klp_read_nofault, (void *)(unsigned long)read);
	static_call_update(klp_find_module, (void *)(unsigned long)find);
	static_call_update(klp_get_kprobe, (void *)(unsigned long)probe);
	static_call_update(klp_idle_task, (void *)(unsigned long)idle);
#ifdef KLP_HAVE_MATCH_SYMBOL
	static_call_update(klp_each_match, (void *)(unsigned long)each);
#else
	static_call_update(klp_each_symbol, (void *)(unsigned long)each);
#endif
#ifdef CONFIG_KRETPROBES
	klp_shim_return_probe = static_call(klp_lookup_name)(
		IS_ENABLED(CONFIG_KRETPROBE_ON_RETHOOK) ? "arch_rethook_trampoline" : "__kretprobe_trampoline");
#endif
	return 0;
}

u64 klp_shim_ftrace_location(u64 addr)
{
	return static_call(klp_ftrace_location)(addr);
}

bool klp_shim_has_probe(u64 site)
{
	bool probed;

	preempt_disable();
	probed = static_call(klp_get_kprobe)((void *)(unsigned long)site);
	preempt_enable();
	return probed;
}

bool klp_shim_read(void *to, u64 addr, size_t size)
{
	return static_call(klp_read_nofault)(to, (const void *)(unsigned long)addr, size) == 0;
}

struct task_struct *klp_shim_idle_task(int cpu)
{
	return static_call(klp_idle_task)(cpu);
}

u64 klp_shim_function_size(u64 addr)
{
	unsigned long size = 0, offset = 0;

	if (!static_call(klp_lookup_size)(addr, &size, &offset) || offset)
		return 0;
	return size;
}

struct klp_symbol_search {
	const char *name;
	bool data;
	klp_symbol_fn found;
	void *context;
};

#ifdef KLP_HAVE_MATCH_SYMBOL
static int klp_symbol_matched(void *data, unsigned long addr)
{
	struct klp_symbol_search *search = data;

	return search->found(search->context, addr) ? 0 : 1;
}

static void klp_each_kernel_symbol(struct klp_symbol_search *search)
{
	static_call(klp_each_match)(klp_symbol_matched, search->name, search);
}
#else
static int klp_symbol_seen(void *data, const char *name, struct module *mod, unsigned long addr)
{
	struct klp_symbol_search *search = data;

	if (mod || strcmp(name, search->name))
		return 0;
	return search->found(search->context, addr) ? 0 : 1;
}

static void klp_each_kernel_symbol(struct klp_symbol_search *search)
{
	static_call(klp_each_symbol)(klp_symbol_seen, search);
}
#endif

/* The module stays: its GOING notifier waits for the engine's lock, which the caller holds. */
static struct module *klp_find(const char *name)
{
	struct module *mod;

	preempt_disable();
	mod = static_call(klp_find_module)(name);
	preempt_enable();
	return mod;
}

struct module *klp_shim_find_module(const char *name)
{
	return klp_find(name);
}

bool klp_shim_is_own(const char *object)
{
	return !strcmp(object, THIS_MODULE->name);
}

bool klp_shim_object_loaded(const char *name)
{
	struct module *mod;
	bool live;

	/* A module that goes is freed when every CPU has left such a section. */
	preempt_disable();
	mod = static_call(klp_find_module)(name);
	live = mod && klp_shim_module_alive(mod);
	preempt_enable();
	return live;
}

static void klp_each_module_symbol(struct module *mod, struct klp_symbol_search *search)
{
	struct mod_kallsyms *kallsyms;
	unsigned int i;

	/* The table of a module that has just been loaded is about to be replaced by a smaller one (do_init_module). */
	preempt_disable();
	kallsyms = rcu_dereference_sched(mod->kallsyms);
	for (i = 1; i < kallsyms->num_symtab; i++) {
		const Elf_Sym *symbol = &kallsyms->symtab[i];

		if (symbol->st_shndx == SHN_UNDEF || (!search->data && !strchr("tTwW", kallsyms->typetab[i])) ||
		    strcmp(kallsyms->strtab + symbol->st_name, search->name))
			continue;
		if (!search->found(search->context, symbol->st_value))
			break;
	}
	preempt_enable();
}

void klp_shim_each_symbol(const char *object, const char *name, bool data, klp_symbol_fn found, void *context)
{
	struct klp_symbol_search search = { .name = name, .data = data, .found = found, .context = context };
	struct module *mod;

	if (!object) {
		klp_each_kernel_symbol(&search);
		return;
	}
	mod = klp_find(object);
	if (mod)
		klp_each_module_symbol(mod, &search);
}
