# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.17
# name: refused: a module of another kernel version
# source: design: refusals; kernel/module/main.c: version magic
file=$KLP_MODULES/foreign/other-kernel.ko
none=${file%.ko}.none
[ -f "$none" ] && skip "$(cat "$none")"
[ -f "$file" ] || fail "there is no $file: the host has to put it there"
refuse_file "invalid module format" "$file"
# What the kernel looks at first differs.
klog | grep -qE "version magic '.*' should be '$(uname -r) |section size must match the kernel's|disagrees about version of symbol module_layout" ||
    fail "the kernel log does not say why: $(klog)"
expect "$(ls $KLP_SYS)" "" "patches"
