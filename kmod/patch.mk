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
klp-comma := ,
klp-numbers := $(subst $(klp-comma), ,$(klp-patchable))
klp-1 := $(word 1,$(klp-numbers))
klp-2 := $(word 2,$(klp-numbers))
klp-patchable-arm64 := -fpatchable-function-entry=$(klp-patchable) -falign-functions=8
klp-patchable-s390 := -mhotpatch=$(klp-patchable)
# A NOP of one byte more than once cannot be exchanged for a branch under CPUs that execute it. What gcc makes for ftrace is one
# NOP of five bytes, and without the list of them ftrace does not know.
klp-patchable-x86 := -pg -mfentry -mnop-mcount -fpatchable-function-entry=$(klp-2),$(klp-2) -falign-functions=8
klp-ftrace-x86 := -mrecord-mcount
klp-ftrace-flags := $(or $(klp-ftrace-$(SRCARCH)),$(CC_FLAGS_FTRACE))
ifeq ($(klp-patchable-$(SRCARCH)),)
$(error klp-patchable: with the compilers for $(SRCARCH) functions cannot have slots of their own, see docs/src/slots.md)
endif
ifeq ($(SRCARCH),x86)
ifneq ($(shell expr $(klp-1) - $(klp-2)),5)
$(error klp-patchable: on x86 five bytes are needed at the entry, N - M = 5 in $(klp-patchable))
endif
endif
ccflags-remove-y += $(klp-ftrace-flags)
ccflags-y += $(klp-patchable-$(SRCARCH))
asflags-y += -DKLP_PATCHABLE_1=$(klp-1) -DKLP_PATCHABLE_2=$(klp-2)
override CC := $(KLP_KMOD)/cc-patchable $(CC)
$(klp-module)-y += klp_patchable.o

filechk_klp_patchable = echo '\#include "$(KLP_KMOD)/patchable.S"'
$(obj)/klp_patchable.S: FORCE
	$(call filechk,klp_patchable)
endif
