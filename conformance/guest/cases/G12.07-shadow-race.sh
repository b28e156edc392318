# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.7
# name: of callers that attach the same shadow variable at the same time one does, and all get that one
# source: Documentation/livepatch/shadow-vars.rst, klp_shadow_get_or_alloc()
load test_shadow
expect_says /proc/test_shadow/race ok
unload test_shadow
