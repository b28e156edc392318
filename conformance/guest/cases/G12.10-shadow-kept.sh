# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.10
# name: shadow variables outlive their module, and are found by the next; when klp.ko goes it says what was left, and frees it
# source: Documentation/livepatch/shadow-vars.rst; docs: writing a patch, "Shadow variables"
load test_shadow
expect_says /proc/test_shadow/not_kept ok
expect_says /proc/test_shadow/keep ok
unload test_shadow
load test_shadow
expect_says /proc/test_shadow/kept ok
expect_says /proc/test_shadow/forget ok
unload test_shadow
unload klp
klog | grep -q "were left" && fail "what was freed is said to be left: $(klog | grep "were left")"
load klp
load test_shadow
expect_says /proc/test_shadow/keep ok
refuse_unload "Resource temporarily unavailable" klp
unload test_shadow
unload klp
expect_log "klp: 2 shadow variables with id 0x7e59 were left by patches"
load klp
load test_shadow
expect_says /proc/test_shadow/not_kept ok
unload test_shadow
