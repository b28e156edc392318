# SPDX-License-Identifier: GPL-2.0-only OR MIT
# ppc64, for make: see ../../arch.mk.

klp-arch-target := powerpc64le-unknown-linux-gnu

# No floating point, no vectors; the back chain is always there (ELFv2 ABI §2.2.3).
klp-arch-rustflags := -Ctarget-cpu=pwr8
klp-arch-features := -altivec,-vsx,-hard-float

klp-arch-ccflags = $(call klp-has,arch/powerpc/include/asm/ptrace.h,\<STACK_USER_INT_FRAME_SIZE\>,KLP_HAVE_USER_INT_FRAME)

# With livepatch of its own the kernel's trampoline takes care of the TOC itself (livepatch_handler in ftrace_entry.S).
klp-arch-return-stub := $(if $(CONFIG_LIVEPATCH_64),,y)
