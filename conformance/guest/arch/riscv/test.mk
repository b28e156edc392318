# SPDX-License-Identifier: GPL-2.0-only OR MIT
# riscv64, for the make of test modules: see ../README.md.
klp-test-room := 7,6
