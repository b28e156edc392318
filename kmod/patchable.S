/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * In a module that was compiled with room at its functions (klp-patchable in patch.mk): how many bytes there are before each of
 * them and at its entry, for klp.ko to read (Declared in klp-core/src/patchable.rs). It is in a section with text, whose
 * symbols every kernel keeps, unless the architecture's build.mk names another.
 */
	.section KLP_SECTION
	.balign	8
	.type	klp_patchable, %object
klp_patchable:
	.2byte	KLP_BEFORE, KLP_AFTER
	.balign	8
	.size	klp_patchable, . - klp_patchable
	.section .note.GNU-stack, "", %progbits
