# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.4
# name: a shadow variable that there is no memory for is not attached, and no constructor is called
# source: Documentation/livepatch/shadow-vars.rst; fault injection: klp.fail_nth
load test_shadow
echo 1 >/sys/module/klp/parameters/fail_nth
expect_says /proc/test_shadow/no_memory ok
expect_says /sys/module/klp/parameters/fail_nth 0 "after the allocation failed"
expect_says /proc/test_shadow/too_large ok
unload test_shadow
