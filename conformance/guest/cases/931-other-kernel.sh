# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.17
# name: refused: a module of another kernel version
# source: design: refusals; kernel/module/main.c: version magic
file=$KLP_MODULES/foreign/other-kernel.ko
[ -f "$file" ] || fail "there is no $file: the host has to put it there"
refuse_file "Exec format error" "$file"
expect_log "version magic" "should be '$(uname -r) "
expect "$(ls $KLP_SYS)" "" "patches"
