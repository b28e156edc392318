# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.6
# name: refused: a symbol that is not there, ambiguous, of another object; too few slots, an unknown type
# source: design: refusals
refused() {
    refuse "Invalid argument\|invalid parameter" test_reloc_refuse "$@"
    expect_says /proc/cmdline "$KLP_CMDLINE" "after the refusal of $*"
    expect "$(ls $KLP_SYS)" "" "patches after the refusal of $*"
}
refused symbol=no_such_symbol
expect_log "livepatch: symbol 'no_such_symbol' not found in symbol table"
twin=$(awk 'NF == 3 && $2 ~ /^[tT]$/ && seen[$3]++ { print $3; exit }' /proc/kallsyms)
count=$(awk -v name="$twin" 'NF == 3 && $3 == name' /proc/kallsyms | wc -l)
refused "symbol=$twin"
expect_log "unresolvable ambiguity for symbol '$twin' in object 'vmlinux'"
expect_log "klp: the patch refers to it and there are $count" "KLP_RELOC_SYMBOL"
refused "symbol=$twin" position=$((count + 1))
expect_log "livepatch: symbol position '$((count + 1))' for symbol '$twin' in object 'vmlinux' not found"
refused object=test_args symbol=test_args
expect_log "refers to symbol 'test_args' of module 'test_args' and does not change that"
load test_target
refused object=test_target symbol=test_twin
expect_log "unresolvable ambiguity for symbol 'test_twin' in object 'test_target'"
unload test_target
echo 1 >/sys/module/klp/parameters/out_of_reach
refused slots=0
echo 0 >/sys/module/klp/parameters/out_of_reach
expect_log "against symbol 'kallsyms_lookup_name'" "distance " "1 slots are needed, 0 were planned"
refused type=999
expect_log "relocation of type 999 at 0x" "against symbol 'kallsyms_lookup_name'" "distance " "have no such relocations"
refused format=2
expect_log "the patch's relocations cannot be read"
load test_reloc_refuse
expect_says /proc/cmdline 1 "with nothing changed"
revert test_reloc_refuse
