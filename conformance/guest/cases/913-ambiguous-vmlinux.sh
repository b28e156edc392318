# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.24
# name: refused: a symbol that vmlinux has several times, without a position or with one too high
# source: design: refusals; struct klp_func, old_sympos
twin=$(awk 'NF == 3 && $2 ~ /^[tT]$/ && seen[$3]++ { print $3; exit }' /proc/kallsyms)
[ -n "$twin" ] || fail "vmlinux has no two functions of one name"
count=$(awk -v name="$twin" 'NF == 3 && $3 == name' /proc/kallsyms | wc -l)
refuse "Invalid argument" test_refuse what=named "symbol=$twin"
expect_log "unresolvable ambiguity for symbol '$twin' in object 'vmlinux'"
expect_log "klp: there are $count" "klp_func.old_sympos"
refuse "Invalid argument" test_refuse what=named "symbol=$twin" position=$((count + 1))
expect_log "livepatch: symbol position '$((count + 1))' for symbol '$twin' in object 'vmlinux' not found"
expect "$(klog | grep -c "klp: there are $count")" 2 "lines that say how many there are"
expect "$(ls $KLP_SYS)" "" "patches"
