# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.5
# name: refused: a function without an ftrace site
# source: design: refusals; Documentation/livepatch/livepatch.rst, "Limitations": only functions that can be traced
load test_target
refuse "Invalid argument" test_refuse what=untraced
expect_log "livepatch: failed to find location for function 'test_untraced'"
expect_log "klp: at" "there is no ftrace site"
expect_untouched
unload test_target
