# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.9
# name: refused: a function without a replacement
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=null-new-func
expect_log "function 'test_second' has no replacement"
expect_untouched
unload test_target
