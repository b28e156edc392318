# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.1
# name: a replacement calls a function of vmlinux that is not exported
# source: Documentation/livepatch/module-elf-format.rst, "Why does livepatch need to write its own relocations"
load test_reloc_1
read -r found by way rest </proc/cmdline
expect "$found $by" "found by" "what the replacement found"
[ "$way" = direct ] || [ "$way" = slot ] || fail "the call goes by '$way'"
note "the call goes by $way"
[ "$(uname -m)" != ppc64le ] || expect "$way" slot "between objects on ppc64"
revert test_reloc_1
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
