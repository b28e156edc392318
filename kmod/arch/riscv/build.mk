# SPDX-License-Identifier: GPL-2.0-only OR MIT
# riscv64, for make: see ../../arch.mk.

klp-arch-target := riscv64imac-unknown-none-elf

# As -mcmodel=medany: a module lies within 2 GiB of itself and of vmlinux (psABI, "Code models"). Frame records as gcc's, one
# for every function.
klp-arch-rustflags := -Ccode-model=medium -Cforce-frame-pointers=y

klp-arch-direct := shim/direct_plain.o
