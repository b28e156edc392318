# SPDX-License-Identifier: GPL-2.0-only OR MIT
# What make is told of the architecture that is built for: klp-arch, the directory with its files, and what build.mk there says.
#
# In: KLP_KMOD; KLP_ARCH_DIR: that directory, if it is of another repository (docs/src/porting.md, "In a repository of your own").
#
# build.mk sets, where there is something to say:
#	klp-arch-target		the Rust target
#	klp-arch-features	features that rustc has no option for: they need a target description of their own
#	klp-arch-rustflags	what rustc is told, as gcc is told by arch/SRCARCH/Makefile
#	klp-arch-wrapper	what rustc is run by; klp-arch-check: a command that checks the Rust object
#	klp-arch-ccflags	what the C shim is told of the kernel's headers
#	klp-arch-direct		objects for direct calls, where ftrace has them and we know in what state it calls
#	klp-arch-return-stub	y, if calls go through return_stub.S on this kernel
#	klp-arch-room		options that make room at functions for slots of their own, of klp-patchable (klp-1,klp-2)
#	klp-arch-room-before, -after	the bytes of it before a function and at its entry; -section: where this is declared
#	klp-arch-room-against	what there is to say against the two numbers
#	klp-arch-room-instead	options for ftrace that are taken away, if not all are
# Objects have the prefix $(klp-arch-obj). If there is slot.S, it has the thunks of functions with a slot.

klp-arch := $(or $(KLP_ARCH_DIR),$(KLP_KMOD)/arch/$(SRCARCH))
klp-arch-obj := arch/$(SRCARCH)

# What differs between kernels is found in their headers, never in their version: $(call klp-has,HEADER,REGEX,MACRO)
klp-has = $(shell grep -qsE '$(2)' $(srctree)/$(1) && echo -D$(3))

# Ordinary modules are built for an architecture of which nothing is known yet.
-include $(klp-arch)/build.mk
