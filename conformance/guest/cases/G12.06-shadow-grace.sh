# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.6
# name: the memory of a freed shadow variable is not used again while a reader may have it
# source: Documentation/livepatch/shadow-vars.rst; Documentation/RCU/whatisRCU.rst
load test_shadow
expect_says /proc/test_shadow/grace ok
unload test_shadow
