/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The stubs of direct calls on x86_64. Entered by the site's `call`, or by a return of ftrace_regs_caller
 * (arch/x86/kernel/ftrace_64.S), with the resume address on the stack above the caller's return address: it is dropped. Flags
 * are nobody's at a call (psABI 3.2.1).
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/orc_types.h>
#include <asm/unwind_hints.h>

	.text
	.balign	16
/* No landing pad: neither way in is an indirect branch. */
SYM_START(klp_direct_stub_first, SYM_L_GLOBAL, SYM_A_NONE)
	ANNOTATE_NOENDBR
	/* The two digits of KLP_EACH_PLACE in hook.h. */
	.irp	high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c, d, e, f
	.irp	low, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c, d, e, f
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=16
	add	$8, %rsp
	UNWIND_HINT_FUNC
	jmp	__SCT__klp_direct_\high\low
	.balign	16, 0xcc
	/* objtool looks for the key by name, to have the jump patched in place. */
	.pushsection .discard.addressable, "aw"
	.quad	__SCK__klp_direct_\high\low
	.popsection
	.endr
	.endr
SYM_INNER_LABEL(klp_direct_stub_end, SYM_L_GLOBAL)
SYM_FUNC_END(klp_direct_stub_first)
