# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.3
# name: a shadow variable that is there already is not attached again: the kernel warns, and it stays as it is
# source: Documentation/livepatch/shadow-vars.rst, "Brief API summary", klp_shadow_alloc()
# warns: klp_shim_shadow_exists
load test_shadow
expect_says /proc/test_shadow/duplicate ok
expect_log "Duplicate shadow variable <" ", 7e57>"
unload test_shadow
