# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.14
# name: refused: a function that another ftrace user redirects; and that user, if it comes second
# source: design: refusals; Documentation/trace/ftrace-uses.rst, FTRACE_OPS_FL_IPMODIFY
load test_target
load test_ipmodify
refuse "Device or resource busy" test_value_1
expect_log "livepatch: failed to register ftrace handler for function 'test_value' (-16)"
expect_log "klp: another user already redirects it"
expect_log "failed to enable patch 'test_value_1'"
expect_value 1 "after the refusal"
expect "$(ls $KLP_SYS)" "" "patches"
# One function that cannot be had: none is patched.
refuse "Device or resource busy" test_many
expect_untouched
unload test_ipmodify
load test_value_1
expect_value 101 "without the other user"
refuse "Device or resource busy" test_ipmodify
expect_value 101 "after the other user's refusal"
revert test_value_1
load test_ipmodify
expect_value 1
unload test_ipmodify test_target
