# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.5
# name: a replacement reads variables that are not exported, of vmlinux, a loaded module, and one that comes
# source: Documentation/livepatch/module-elf-format.rst, "livepatch symbols"
if ! grep -q ' saved_command_line$' /proc/kallsyms; then
    refuse "Invalid argument\|invalid parameter" test_reloc_2
    expect_log "symbol 'saved_command_line' not found in symbol table"
    expect_log "klp: the kernel lists functions only" "no CONFIG_KALLSYMS_ALL"
    expect_says /proc/cmdline "$KLP_CMDLINE" "after the refusal"
    skip "this kernel's symbol table lists no data: refused, as it has to be"
fi
load test_reloc_2
read -r found by way line </proc/cmdline
expect "$line" "$KLP_CMDLINE" "the variable of vmlinux"
load test_reloc_target data=5
read -r value by way data </proc/test_reloc_target
expect "$value $data" "106 5" "of a module that came"
echo 6 >/sys/module/test_reloc_target/parameters/data
read -r value by way data </proc/test_reloc_target
expect "$value $data" "107 6" "changed"
revert test_reloc_2
load test_reloc_2
read -r value by way data </proc/test_reloc_target
expect "$value $data" "107 6" "of a loaded module"
revert test_reloc_2
unload test_reloc_target
