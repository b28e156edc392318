# SPDX-License-Identifier: GPL-2.0-only OR MIT
# s390, for make: see ../../arch.mk.

klp-arch-target := s390x-unknown-none-softfloat

# -msoft-float -mbackchain -mpacked-stack. rustc has no options for the first two; for the third not even a feature, see
# rustc-packed-stack.
klp-arch-features := +soft-float,-vector,+backchain
# As with gcc's -fPIC, the addresses of other objects' symbols are read from memory: vmlinux may be further away than LARL reaches.
klp-arch-rustflags := --cfg=klp_packed_stack -Zdirect-access-external-data=n
klp-arch-wrapper := RUSTC_WRAPPER=$(klp-arch)/rustc-packed-stack
klp-arch-check = && $(OBJDUMP) -d $@ | $(AWK) -f $(klp-arch)/packed-stack.awk

klp-arch-direct := shim/direct_plain.o

klp-arch-room = -mhotpatch=$(klp-patchable)
klp-arch-room-before = $(shell expr 2 \* $(klp-1))
klp-arch-room-after = $(shell expr 2 \* $(klp-2))
