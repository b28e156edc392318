# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.15
# name: refused: a function that the kernel's own livepatch patches
# source: design: refusals; Documentation/livepatch/livepatch.rst
[ -d /sys/kernel/livepatch ] && [ ! -L /sys/kernel/livepatch ] ||
    skip "this kernel has no livepatch of its own (CONFIG_LIVEPATCH)"
load test_target
load test_kernel_livepatch
expect_value 301 "the kernel's livepatch"
refuse "Device or resource busy" test_value_1
expect_log "livepatch: failed to register ftrace handler for function 'test_value' (-16)"
expect_log "klp: another user already redirects it"
expect_value 301 "after the refusal"
settled() { [ "$(says /sys/kernel/livepatch/test_kernel_livepatch/transition)" = 0 ]; }
wait_for 20 settled || fail "the kernel's own transition does not end"
echo 0 >/sys/kernel/livepatch/test_kernel_livepatch/enabled || fail "cannot disable the kernel's patch"
ended() { [ ! -d /sys/kernel/livepatch/test_kernel_livepatch ]; }
wait_for 20 ended || fail "the kernel's own transition does not end"
wait_for 2 rmmod test_kernel_livepatch 2>/dev/null || fail "cannot unload test_kernel_livepatch"
load test_value_1
expect_value 101 "without the kernel's patch"
refuse "Device or resource busy" test_kernel_livepatch
expect_value 101 "after the kernel's livepatch was refused"
revert test_value_1
unload test_target
