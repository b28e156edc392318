/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The return stub of ppc64: calls a replacement with a TOC of its own, and puts the caller's TOC pointer back after it.
 * arch-ppc64/src/ftrace.rs says why; not for kernels with CONFIG_LIVEPATCH, whose trampoline does this itself.
 *
 * The ftrace callback pushed a frame on the task's return stack (klp-core/src/return_stack.rs: change both together) and
 * made the trampoline resume here instead of in the patched function. There is no machine stack frame, and none may be
 * made: the arguments lie at fixed offsets from r1.
 *
 * Interrupts and NMIs use the return stack above our frame, and leave its count as they found it.
 */
#include <asm/asm-offsets.h>
#include <asm/bug.h>
#include <asm/ppc_asm.h>

/* Bytes from the low end of the task's stack. */
#define COUNT		(8 * 2)
#define FRAMES		(8 * 3)
/* Bytes from a frame's start. */
#define FRAME_RA	(8 * 0)
#define FRAME_SP	(8 * 1)
#define FRAME_CONTEXT	(8 * 2)
#define FRAME_SIZE	(8 * 3)
/* The newest frame, from where as many frames as there are would end if the first were at the stack's low end. */
#define NEWEST		(FRAMES - FRAME_SIZE)

	.text
/*
 * Entered by the trampoline's bctr. LR: where the call shall return to, all tracers considered. r2: as at the patch site.
 * r3...r10, r13...r31: the caller's. Free: r0, r11, r12, CTR, CR0 (ELFv2 ABI, "Register Roles").
 */
_GLOBAL(klp_return_stub)
	ld	r12, PACACURRENT(r13)
	ld	r12, TASK_STACK(r12)
	ld	r11, COUNT(r12)
	mulli	r11, r11, FRAME_SIZE
	add	r12, r12, r11
	ld	r11, NEWEST + FRAME_SP(r12)
1:	tdne	r11, r1				/* not this call's frame */
	EMIT_BUG_ENTRY 1b, __FILE__, __LINE__, 0
	mflr	r0
	std	r0, NEWEST + FRAME_RA(r12)
	ld	r0, NEWEST + FRAME_CONTEXT(r12)	/* the replacement's global entry point... */
	std	r2, NEWEST + FRAME_CONTEXT(r12)
	mr	r12, r0				/* ...which expects its address here */
	mtctr	r12
	bctrl

/*
 * The replacement has returned. r3, r4: its result. Free: r0, r5...r12, CTR, CR0. Frames above this call's belong to
 * calls that never returned.
 */
	ld	r12, PACACURRENT(r13)
	ld	r12, TASK_STACK(r12)
	ld	r11, COUNT(r12)
	mulli	r10, r11, FRAME_SIZE
	add	r10, r12, r10
2:	tdeqi	r11, 0				/* no frame is this call's */
	EMIT_BUG_ENTRY 2b, __FILE__, __LINE__, 0
	ld	r0, NEWEST + FRAME_SP(r10)
	addi	r11, r11, -1
	cmpd	r0, r1
	beq	3f
	addi	r10, r10, -FRAME_SIZE
	b	2b
3:	ld	r0, NEWEST + FRAME_RA(r10)
	ld	r2, NEWEST + FRAME_CONTEXT(r10)
	mtlr	r0
	std	r11, COUNT(r12)			/* an interrupt may use the frame from here on */
	blr

	.globl	klp_return_stub_end
klp_return_stub_end:
	.size	klp_return_stub, . - klp_return_stub
_ASM_NOKPROBE_SYMBOL(klp_return_stub)
