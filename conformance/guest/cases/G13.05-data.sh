# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.5
# name: a replacement reads variables that are not exported, of vmlinux, a loaded module, and one that comes
# source: Documentation/livepatch/module-elf-format.rst, "livepatch symbols"; docs/src/relocations.md, "Data"
listed() {
    grep -q ' saved_command_line$' /proc/kallsyms
}
if ! insmod_once "$KLP_MODULES/test_reloc_2.ko" 2>"$KLP_TMP/said"; then
    listed && fail "loading test_reloc_2 failed: $(cat "$KLP_TMP/said"); kernel log: $(klog | tail -n 5)"
    expect_log "livepatch: symbol 'saved_command_line' not found in symbol table"
    expect_log "klp: the kernel lists functions only" "no CONFIG_KALLSYMS_ALL" "build with --vmlinux"
    expect_says /proc/cmdline "$KLP_CMDLINE" "after the refusal"
    expect "$(ls $KLP_SYS)" "" "patches after the refusal"
    skip "this kernel lists no variables, and nobody has its vmlinux: refused, as it has to be"
fi
listed || note "the variable of vmlinux was found by its vmlinux"
read -r found by way line </proc/cmdline
expect "$line" "$KLP_CMDLINE" "the variable of vmlinux"
load test_reloc_target data=5
read -r value by way data </proc/test_reloc_target
expect "$value $data" "106 5" "of a module that came"
echo 6 >/sys/module/test_reloc_target/parameters/data
read -r value by way data </proc/test_reloc_target
expect "$value $data" "107 6" "changed"
revert test_reloc_2
if listed; then
    load test_reloc_2
    read -r value by way data </proc/test_reloc_target
    expect "$value $data" "107 6" "of a loaded module"
    revert test_reloc_2
else
    refuse "Invalid argument\|invalid parameter" test_reloc_2
    expect_log "livepatch: symbol 'reloc_hidden_data' not found in symbol table"
    expect_says /proc/test_reloc_target "original 6" "after the refusal"
fi
unload test_reloc_target
