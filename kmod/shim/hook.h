/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the files of the shim share that put calls of a patched function elsewhere. */
#ifndef _KLP_HOOK_H
#define _KLP_HOOK_H

#include <linux/ftrace.h>

#include "shim.h"

struct klp_hook {
	struct ftrace_ops ops;
	unsigned long site;
	bool armed;
#ifdef KLP_DIRECT
	/* Registered while the site calls `stub` directly. */
	struct ftrace_ops direct;
	unsigned long stub;
	/* Of direct.c's pool, while it is used. */
	unsigned int place;
#endif
	u8 redirect[KLP_REDIRECT_SIZE] __aligned(8);
};

#ifdef KLP_DIRECT
/* How many functions can be entered directly at a time. */
#define KLP_DIRECT_PLACES 256

/* Each of these for each two hexadecimal digits: KLP_DIRECT_PLACES times. */
#define KLP_EACH_OF(each, high)										\
	each(high##0) each(high##1) each(high##2) each(high##3) each(high##4) each(high##5) each(high##6)	\
	each(high##7) each(high##8) each(high##9) each(high##a) each(high##b) each(high##c) each(high##d)	\
	each(high##e) each(high##f)
#define KLP_EACH_PLACE(each)										\
	KLP_EACH_OF(each, 0) KLP_EACH_OF(each, 1) KLP_EACH_OF(each, 2) KLP_EACH_OF(each, 3)		\
	KLP_EACH_OF(each, 4) KLP_EACH_OF(each, 5) KLP_EACH_OF(each, 6) KLP_EACH_OF(each, 7)		\
	KLP_EACH_OF(each, 8) KLP_EACH_OF(each, 9) KLP_EACH_OF(each, a) KLP_EACH_OF(each, b)		\
	KLP_EACH_OF(each, c) KLP_EACH_OF(each, d) KLP_EACH_OF(each, e) KLP_EACH_OF(each, f)

/*
 * What ftrace has to call for a call to go on in `target` as if its caller had called that; 0 if there is no memory. The
 * place's stub, if there is one, is in use by no CPU; on return each that enters it finds the target.
 */
unsigned long klp_direct_stub(unsigned int place, unsigned long target);
/* Where the stubs are; size 0 if there are none. */
struct klp_range klp_direct_stubs(void);

bool klp_is_direct(const struct klp_hook *hook);
int klp_direct_enter(struct klp_hook *hook, unsigned long target);
int klp_direct_leave(struct klp_hook *hook);
void klp_direct_drop(struct klp_hook *hook);
#else
static inline bool klp_is_direct(const struct klp_hook *hook)
{
	return false;
}

static inline int klp_direct_enter(struct klp_hook *hook, unsigned long target)
{
	return -EOPNOTSUPP;
}

static inline int klp_direct_leave(struct klp_hook *hook)
{
	return 0;
}

static inline void klp_direct_drop(struct klp_hook *hook)
{
}

static inline struct klp_range klp_direct_stubs(void)
{
	return (struct klp_range){ };
}
#endif

/* The return address of the call, whatever a return probe has put in its place. */
unsigned long klp_unprobed_caller(unsigned long parent_ip);
void klp_slot_init(void);

#endif /* _KLP_HOOK_H */
