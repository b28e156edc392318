# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.10
# name: refused: a function that is named twice
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=duplicate
expect_log "function 'test_value' is named twice"
expect_untouched
unload test_target
