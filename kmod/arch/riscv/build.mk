# SPDX-License-Identifier: GPL-2.0-only OR MIT
# riscv64, for make: see ../../arch.mk.

# No floating point, no vectors; the code model is "medium", as with gcc's -mcmodel=medany. Nothing is relaxed (-mno-relax).
klp-arch-target := riscv64imac-unknown-none-elf
klp-arch-rustflags := -Cno-redzone=y
ifeq ($(CONFIG_RISCV_ISA_C),)
klp-arch-rustflags += -Ctarget-feature=-c
endif
ifneq ($(CONFIG_FRAME_POINTER),)
klp-arch-rustflags += -Cforce-frame-pointers=y
endif
ifneq ($(CONFIG_SHADOW_CALL_STACK),)
klp-arch-rustflags += -Zsanitizer=shadow-call-stack
endif

klp-arch-direct := shim/direct_plain.o

# Without compressed instructions: then a NOP is as long as a branch, and aligned to its length.
klp-arch-room = $(patsubst -march=rv64imac%,-march=rv64ima%,$(lastword $(filter -march=%,$(KBUILD_CFLAGS)))) -fpatchable-function-entry=$(klp-patchable) -falign-functions=8
klp-arch-room-before = $(shell expr 4 \* $(klp-2))
klp-arch-room-after = $(shell expr 4 \* \( $(klp-1) - $(klp-2) \))
