# SPDX-License-Identifier: GPL-2.0-only OR MIT
# __name__, for make: the SDK's kmod/arch.mk says what is set here, its kmod/arch/*/build.mk what others set.

# Fact::Shim
klp-arch-target :=
klp-arch-rustflags :=
