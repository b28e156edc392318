# SPDX-License-Identifier: GPL-2.0-only OR MIT
# x86_64, for make: see ../../arch.mk.

klp-arch-target := x86_64-unknown-none

# psABI §3.5.1, "kernel code model"; the red zone is clobbered by interrupts. Floating point is off in the target.
klp-arch-rustflags := -Ccode-model=kernel -Cno-redzone=y -Zdirect-access-external-data=y -Zplt=y
ifneq ($(CONFIG_MITIGATION_RETPOLINE)$(CONFIG_RETPOLINE),)
klp-arch-rustflags += -Zretpoline-external-thunk=y -Zindirect-branch-cs-prefix=y -Cjump-tables=n
endif
ifneq ($(CONFIG_MITIGATION_RETHUNK)$(CONFIG_RETHUNK),)
klp-arch-rustflags += -Zfunction-return=thunk-extern
endif
ifneq ($(CONFIG_MITIGATION_SLS)$(CONFIG_SLS),)
klp-arch-features := -mmx,-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-avx,-avx2,+soft-float,+harden-sls-ijmp,+harden-sls-ret
endif
ifneq ($(CONFIG_X86_KERNEL_IBT),)
klp-arch-rustflags += -Zcf-protection=branch -Cjump-tables=n
endif
ifneq ($(CONFIG_FUNCTION_PADDING_BYTES),)
ifneq ($(CONFIG_CALL_PADDING),)
klp-arch-rustflags += -Zpatchable-function-entry=$(CONFIG_FUNCTION_PADDING_BYTES),$(CONFIG_FUNCTION_PADDING_BYTES)
endif
endif
ifneq ($(CONFIG_FRAME_POINTER),)
klp-arch-rustflags += -Cforce-frame-pointers=y
endif

klp-arch-direct := $(klp-arch-obj)/direct.o $(klp-arch-obj)/direct_stub.o

# A NOP of one byte more than once cannot be exchanged for a branch under CPUs that execute it. What gcc makes for ftrace is one
# NOP of five bytes, and without the list of them ftrace does not know.
klp-arch-room = -pg -mfentry -mnop-mcount -fpatchable-function-entry=$(klp-2),$(klp-2) -falign-functions=8
klp-arch-room-instead := -mrecord-mcount
klp-arch-room-before = $(klp-2)
klp-arch-room-after = $(shell expr $(klp-1) - $(klp-2))
# objtool would take it for instructions in text, and the kernel keeps symbols of data.
klp-arch-room-section := .rodata
klp-arch-room-against = $(if $(filter-out 5,$(klp-arch-room-after)),on x86 five bytes are needed at the entry$(comma) N - M = 5)
