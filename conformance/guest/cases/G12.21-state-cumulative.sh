# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.21
# name: system states: a cumulative patch has to declare all that enabled patches have changed
# source: Documentation/livepatch/system-state.rst, "Livepatch compatibility"
load test_target
load test_api_1 ids=1 versions=2
load test_api_2 ids=2 versions=3
for states in "" "ids=1 versions=2" "ids=2 versions=3" "ids=1,3 versions=2,3" "ids=1,2 versions=2,2"; do
    refuse "Invalid argument" test_api_3 replace=1 $states
    expect_value 302 "after the refusal of $states"
    expect_says $KLP_SYS/test_api_1/enabled 1 "after the refusal of $states"
done
load test_api_3 replace=1 ids=2,1 versions=3,2
gone test_api_1 test_api_2
expect_value 303
# It has taken the states over: they count as its own from then on.
refuse "Invalid argument" test_api_1 replace=1 ids=1 versions=9
revert test_api_3
# Nothing is left of those that are disabled.
load test_api_1 replace=1
revert test_api_1
unload test_target
