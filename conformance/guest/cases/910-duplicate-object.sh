# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.11
# name: refused: an object that is named twice
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=duplicate-object
expect_log "object 'test_target' is named twice"
expect_untouched
unload test_target
