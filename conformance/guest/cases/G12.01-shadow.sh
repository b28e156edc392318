# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.1
# name: shadow variables: zeroed, constructed once, found by object and id; one that its constructor refuses is not there
# source: Documentation/livepatch/shadow-vars.rst, "Brief API summary"
load test_shadow
expect_says /proc/test_shadow/zeroed ok
expect_says /proc/test_shadow/constructed ok
expect_says /proc/test_shadow/existing ok
expect_says /proc/test_shadow/pairs ok
expect_says /proc/test_shadow/refused ok
expect_log "livepatch: Failed to construct shadow variable <" ", 7e57> (-16)"
unload test_shadow
