# SPDX-License-Identifier: GPL-2.0-only OR MIT
# For the Kbuild file of a patch module:
#
#	KLP_KMOD := <this directory>
#	obj-m := NAME.o
#	NAME-y := a.o b.o		a patch in C
#	NAME-rust := lib.rs		or in Rust: its crate root
#	include $(KLP_KMOD)/patch.mk
#
# A module that is for the kernel's own livepatch, not for klp.ko, sets klp-kernel-livepatch := y first.
#
# klp-patchable := N,M first: its functions get room for slots of their own, in place of ftrace's sites (docs/src/slots.md, "Room at
# functions"). Two numbers, as -fpatchable-function-entry or -mhotpatch take them.

include $(KLP_KMOD)/arch.mk

ifneq ($(klp-kernel-livepatch),y)
LINUXINCLUDE := -I$(KLP_KMOD)/include $(LINUXINCLUDE)
endif

klp-module := $(patsubst %.o,%,$(firstword $(obj-m)))
ifneq ($($(klp-module)-rust),)
$(klp-module)-y += klp_rust.o
klp-crate := $(klp-module)
klp-crate-dir := $(obj)/crate
klp-crate-root := $(abspath $(src)/$($(klp-module)-rust))
include $(KLP_KMOD)/rust.mk
endif

ifneq ($(klp-patchable),)
klp-numbers := $(subst $(comma), ,$(klp-patchable))
klp-1 := $(word 1,$(klp-numbers))
klp-2 := $(word 2,$(klp-numbers))
ifeq ($(klp-arch-room),)
$(error klp-patchable: with the compilers for $(SRCARCH) functions cannot have slots of their own, see docs/src/slots.md)
endif
ifneq ($(klp-arch-room-against),)
$(error klp-patchable: $(klp-arch-room-against) in $(klp-patchable))
endif
ccflags-remove-y += $(or $(klp-arch-room-instead),$(CC_FLAGS_FTRACE))
ccflags-y += $(klp-arch-room)
asflags-y += -DKLP_BEFORE=$(klp-arch-room-before) -DKLP_AFTER=$(klp-arch-room-after) -DKLP_SECTION=$(or $(klp-arch-room-section),.text)
override CC := $(KLP_KMOD)/cc-patchable $(CC)
$(klp-module)-y += klp_patchable.o

filechk_klp_patchable = echo '\#include "$(KLP_KMOD)/patchable.S"'
$(obj)/klp_patchable.S: FORCE
	$(call filechk,klp_patchable)
endif
