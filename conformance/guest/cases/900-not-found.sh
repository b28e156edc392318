# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.1
# name: refused: a symbol that a module does not have
# source: design: refusals; Documentation/livepatch/livepatch.rst, "Registration"
load test_target
refuse "Invalid argument" test_refuse what=absent
expect_log "livepatch: symbol 'test_absent' not found in symbol table"
expect_log "klp: test_target has none"
expect_untouched
unload test_target
