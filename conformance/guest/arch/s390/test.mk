# SPDX-License-Identifier: GPL-2.0-only OR MIT
# s390, for the make of test modules: see ../README.md.
klp-test-room := 16,3
klp-test-room-and-site := -mhotpatch=16,3
