# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.3
# name: refused: a symbol that is there twice, without a position
# source: design: refusals; struct klp_func, old_sympos
load test_target
refuse "Invalid argument" test_refuse what=ambiguous
expect_log "unresolvable ambiguity for symbol 'test_twin' in object 'test_target'"
expect_log "klp: there are 2" "klp_func.old_sympos"
expect_untouched
unload test_target
