# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G2.4
# name: a module that lacks a function to patch is refused while the patch is enabled
# source: Documentation/livepatch/livepatch.rst, "Livepatch module handling": the module must not run unpatched
load test_value_1
load test_refuse what=absent
refuse "Invalid argument" test_target
expect_log "livepatch: symbol 'test_absent' not found in symbol table"
expect_log "klp: test_target has none"
expect_log "patch 'test_refuse' failed for module 'test_target', refusing to load module 'test_target'"
[ ! -d /sys/module/test_target ] || fail "it is loaded nevertheless"
expect_says $KLP_SYS/test_value_1/test_target/patched 0 "after the refusal"
revert test_refuse
# The other patch is not harmed.
load test_target
expect_value 101
revert test_value_1
unload test_target
