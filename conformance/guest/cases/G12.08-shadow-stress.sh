# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.8
# name: shadow variables that come and go on all CPUs are found whole or not at all
# source: Documentation/livepatch/shadow-vars.rst, "Brief API summary"
load test_shadow
expect_says /proc/test_shadow/stress ok
unload test_shadow
