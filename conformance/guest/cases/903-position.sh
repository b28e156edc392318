# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.4
# name: refused: a position behind the last symbol of that name
# source: design: refusals; struct klp_func, old_sympos
load test_target
refuse "Invalid argument" test_refuse what=position
expect_log "livepatch: symbol position '3' for symbol 'test_twin' in object 'test_target' not found"
expect_log "klp: there are 2"
expect_untouched
unload test_target
