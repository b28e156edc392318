# SPDX-License-Identifier: GPL-2.0-only OR MIT
# ppc64, for the make of test modules: see ../README.md.
# Neither: compilers make no room.
