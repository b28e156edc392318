# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.2
# name: refused: a symbol that vmlinux does not have
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=absent-in-vmlinux
expect_log "symbol 'test_value' not found in symbol table of vmlinux"
expect_log "failed to enable patch 'test_refuse'"
expect_untouched
unload test_target
