// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Direct calls on x86_64: each stub of direct_stub.S ends in a static call. That is the kernel's own way to have code jump
 * to what may change, by a direct jump that needs neither a retpoline nor a landing pad at its target.
 */
#include <linux/static_call.h>

#include "hook.h"

extern char klp_direct_stub_first[], klp_direct_stub_end[];

/* What is never called: a stub is given its target before ftrace is. */
static void klp_direct_unused(void)
{
	BUG();
}

#define KLP_STATIC_CALL(n) DEFINE_STATIC_CALL(klp_direct_##n, klp_direct_unused);
KLP_EACH_PLACE(KLP_STATIC_CALL)

static const struct {
	struct static_call_key *key;
	void *tramp;
} klp_direct_jumps[] = {
#define KLP_JUMP(n) { &STATIC_CALL_KEY(klp_direct_##n), STATIC_CALL_TRAMP_ADDR(klp_direct_##n) },
	KLP_EACH_PLACE(KLP_JUMP)
};

unsigned long klp_direct_stub(unsigned int place, unsigned long target)
{
	size_t size = (klp_direct_stub_end - klp_direct_stub_first) / KLP_DIRECT_PLACES;

	__static_call_update(klp_direct_jumps[place].key, klp_direct_jumps[place].tramp, (void *)target);
	return (unsigned long)klp_direct_stub_first + place * size;
}

struct klp_range klp_direct_stubs(void)
{
	return (struct klp_range){
		.start = (u64)klp_direct_stub_first,
		.size = klp_direct_stub_end - klp_direct_stub_first,
	};
}
