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
