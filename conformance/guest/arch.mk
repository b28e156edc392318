# SPDX-License-Identifier: GPL-2.0-only OR MIT
# For the Kbuild file of a test module that has to know the architecture: klp-test-arch, the directory with what is known
# (arch/README.md here), for #include and for make.

klp-test-arch := $(if $(KLP_ARCH_DIR),$(KLP_ARCH_DIR)/../guest,$(KLP_KMOD)/../conformance/guest/arch/$(SRCARCH))
ccflags-y += -I$(klp-test-arch)
include $(klp-test-arch)/test.mk
