# SPDX-License-Identifier: GPL-2.0-only OR MIT
# arm64, for make: see ../../arch.mk.

klp-arch-target := aarch64-unknown-none-softfloat

# Frame records everywhere (CONFIG_FRAME_POINTER is always on); AAPCS64 §6.4.6.
klp-arch-rustflags := -Cforce-frame-pointers=y
ifneq ($(CONFIG_ARM64_BTI_KERNEL),)
klp-arch-rustflags += -Zbranch-protection=bti,pac-ret
else ifneq ($(CONFIG_ARM64_PTR_AUTH_KERNEL),)
klp-arch-rustflags += -Zbranch-protection=pac-ret
endif
ifneq ($(CONFIG_SHADOW_CALL_STACK),)
klp-arch-rustflags += -Zfixed-x18 -Zsanitizer=shadow-call-stack
endif

klp-arch-direct := $(klp-arch-obj)/direct.o $(klp-arch-obj)/direct_stub.o

klp-arch-room = -fpatchable-function-entry=$(klp-patchable) -falign-functions=8
klp-arch-room-before = $(shell expr 4 \* $(klp-2))
klp-arch-room-after = $(shell expr 4 \* \( $(klp-1) - $(klp-2) \))
