# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.16
# name: refused: a module of another architecture
# source: design: refusals; kernel/module/main.c: the ELF header
file=$KLP_MODULES/foreign/other-arch.ko
[ -f "$file" ] || fail "there is no $file: the host has to put it there"
refuse_file "invalid module format" "$file"
expect "$(ls $KLP_SYS)" "" "patches"
