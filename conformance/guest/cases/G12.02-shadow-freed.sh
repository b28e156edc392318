# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.2
# name: shadow variables are freed one by one and all of an id; destructors see them, and nobody else
# source: Documentation/livepatch/shadow-vars.rst, "Brief API summary"
load test_shadow
expect_says /proc/test_shadow/freed ok
expect_says /proc/test_shadow/freed_all ok
unload test_shadow
