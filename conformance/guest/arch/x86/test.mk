# SPDX-License-Identifier: GPL-2.0-only OR MIT
# x86_64, for the make of test modules: see ../README.md.
klp-test-room := 21,16
klp-test-room-and-site := -fpatchable-function-entry=21,16 -falign-functions=8
