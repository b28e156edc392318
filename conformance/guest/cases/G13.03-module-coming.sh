# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.3
# name: the module whose function is called comes later, goes, and comes back
# source: Documentation/livepatch/module-elf-format.rst, "livepatch relocation sections"
load test_reloc_1
for data in 7 30 200; do
    load test_reloc_target data=$data
    read -r value by way </proc/test_reloc_target
    expect "$value $by" "$((101 + data)) by" "with the data $data"
    unload test_reloc_target
    read -r found rest </proc/cmdline
    expect "$found" found "without the module"
done
# Another place for the module.
load test_value_1
load test_reloc_target data=1
read -r value by way </proc/test_reloc_target
expect "$value $by" "102 by" "elsewhere"
revert test_reloc_1 test_value_1
unload test_reloc_target
