# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.2
# name: a replacement calls a function of a loaded module that is not exported
# source: Documentation/livepatch/module-elf-format.rst, "livepatch symbols"
load test_reloc_target data=7
expect_says /proc/test_reloc_target "original 7" "unpatched"
load test_reloc_1
read -r value by way </proc/test_reloc_target
expect "$value $by" "108 by" "patched"
note "the call goes by $way"
echo 20 >/sys/module/test_reloc_target/parameters/data
expect_says /proc/test_reloc_target "121 by $way" "patched, the data changed"
revert test_reloc_1
expect_says /proc/test_reloc_target "original 20" "reverted"
unload test_reloc_target
