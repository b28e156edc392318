# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.8
# name: in the immediate model, which needs no stack walk, a replacement calls what is not exported
# source: Documentation/livepatch/module-elf-format.rst, "Why does livepatch need to write its own relocations"
. "${KLP_LIB%/*}/transitions.sh"
load test_reloc_target data=7
load test_reloc_1 flags=$IMMEDIATE
read -r found by _ </proc/cmdline
expect "$found $by" "found by" "what the replacement found"
read -r value by _ </proc/test_reloc_target
expect "$value $by" "108 by" "the replacement in a module"
revert test_reloc_1
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
unload test_reloc_target
