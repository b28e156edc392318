# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.8
# name: refused: an object whose functions array is NULL
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=null-funcs
expect_log "object 'test_target' has no functions"
expect_untouched
unload test_target
