# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.9
# name: ten thousand shadow variables, of which every second goes: exactly the others are found
# source: Documentation/livepatch/shadow-vars.rst, "Brief API summary"
load test_shadow
expect_says /proc/test_shadow/many ok
unload test_shadow
