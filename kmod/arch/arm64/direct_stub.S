/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The stubs of direct calls on arm64. Entered by the site's `bl`, behind its `mov x9, x30`, or by `br x17` of ftrace_caller
 * (arch/arm64/kernel/entry-ftrace.S): x9 is the caller's return address, x30 the resume address, which nobody needs. x16 and
 * x17 are there for veneers (AAPCS64 6.1.1), and may enter a `bti c`.
 */
#include <linux/linkage.h>
#include <asm/assembler.h>

/* KLP_DIRECT_PLACES of hook.h, which is C. */
#define PLACES 256

	.text
	.balign	32
SYM_CODE_START(klp_direct_stub_first)
	.set	place, 0
	.rept	PLACES
	hint	#34				// bti c
	mov	x30, x9
	.if	place == 0
SYM_INNER_LABEL(klp_direct_stub_jump, SYM_L_GLOBAL)
	.endif
	nop					// direct.c makes it `b target`
	ldr_l	x16, klp_direct_targets + place
	br	x16
	.balign	32
	.set	place, place + 8
	.endr
SYM_INNER_LABEL(klp_direct_stub_end, SYM_L_GLOBAL)
SYM_CODE_END(klp_direct_stub_first)
