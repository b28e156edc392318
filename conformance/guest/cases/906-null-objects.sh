# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.7
# name: refused: a patch whose objects array is NULL
# source: design: refusals
load test_target
refuse "Invalid argument" test_refuse what=null-objects
expect_log "the patch has no objects"
expect_untouched
unload test_target
