# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.2
# name: refused: a symbol that vmlinux does not have
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=absent-in-vmlinux
expect_log "livepatch: symbol 'test_value' not found in symbol table"
expect_log "klp: vmlinux has none"
expect_untouched
unload test_target
