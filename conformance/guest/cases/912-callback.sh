# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.13
# name: refused: a patch whose pre-patch callback refuses, with the callback's error
# source: Documentation/livepatch/callbacks.rst: pre_patch
load test_target
refuse "Operation not permitted" test_refuse what=callback
expect_log "pre-patch callback failed for object 'test_target'"
expect_log "failed to enable patch 'test_refuse'"
expect_untouched
unload test_target
