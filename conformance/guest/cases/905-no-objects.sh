# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.6
# name: refused: a patch without objects
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=no-objects
expect_log "the patch has no objects"
expect_untouched
unload test_target
