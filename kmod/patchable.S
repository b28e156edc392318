/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * In a module that was compiled with room at its functions (klp-patchable in patch.mk): how many bytes there are before each of
 * them and at its entry, for klp.ko to read (Declared in klp-core/src/patchable.rs). It is in a section with text, whose
 * symbols every kernel keeps; x86's objtool would take it for instructions there, and x86 kernels keep symbols of data.
 */
#if defined(CONFIG_S390)
#define BEFORE	(2 * KLP_PATCHABLE_1)
#define AFTER	(2 * KLP_PATCHABLE_2)
	.text
#elif defined(CONFIG_ARM64)
#define BEFORE	(4 * KLP_PATCHABLE_2)
#define AFTER	(4 * (KLP_PATCHABLE_1 - KLP_PATCHABLE_2))
	.text
#elif defined(CONFIG_X86)
#define BEFORE	KLP_PATCHABLE_2
#define AFTER	(KLP_PATCHABLE_1 - KLP_PATCHABLE_2)
	.section .rodata
#endif
	.balign	8
	.type	klp_patchable, %object
klp_patchable:
	.2byte	BEFORE, AFTER
	.balign	8
	.size	klp_patchable, . - klp_patchable
	.section .note.GNU-stack, "", %progbits
