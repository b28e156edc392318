# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.24
# name: outside of a transition there are no system states before: the kernel warns, and finds nothing
# source: Documentation/livepatch/system-state.rst; kernel/livepatch/state.c, klp_get_prev_state()
# warns: klp_sdk_get_prev_state
load test_target
load test_api_1 ids=1 versions=1
load test_api_2 ids=1 versions=1
# klp.ko warns once while it is loaded.
echo 1 >/sys/module/test_api_2/parameters/ask
echo 1 >/sys/module/test_api_2/parameters/ask
expect "$(klog | grep -c "test_api_2: outside of a transition: nothing")" 2 "answers"
revert test_api_2 test_api_1
unload test_target
