# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.12
# name: refused: a patch that names no module
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=null-module
expect_log "a patch names no module"
expect_untouched
unload test_target
