# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.22
# name: callbacks find their own system states and those before them, and hand over what is kept with one
# source: Documentation/livepatch/system-state.rst, "Expected usage"
# What the patches' callbacks for vmlinux logged, in order.
said() {
    klog | sed -n 's/.*\(test_api_[123]\): \([a-z_]*\) vmlinux /\1 \2 /p'
}

load test_target
load test_api_1 ids=1,2 versions=1,4
load test_api_2 ids=1 versions=2
load test_api_3 replace=1 ids=1,2,3 versions=2,4,9
gone test_api_1 test_api_2
revert test_api_3
load test_api_1 ids=3 versions=1
revert test_api_1
unload test_target
expect "$(said)" "\
test_api_1 pre_patch 1=1/- 2=4/- 3=-/- keeps test_api_1
test_api_1 post_patch 1=1/- 2=4/- 3=-/- keeps test_api_1
test_api_2 pre_patch 1=2/1 2=-/4 3=-/- keeps nothing
test_api_2 post_patch 1=2/1 2=-/4 3=-/- keeps test_api_1
test_api_3 pre_patch 1=2/2 2=4/4 3=9/- keeps nothing
test_api_3 post_patch 1=2/2 2=4/4 3=9/- keeps test_api_1
test_api_3 pre_unpatch 1=2/- 2=4/- 3=9/- keeps test_api_1
test_api_3 post_unpatch 1=2/- 2=4/- 3=9/- keeps test_api_1
test_api_1 pre_patch 1=-/- 2=-/- 3=1/- keeps nothing
test_api_1 post_patch 1=-/- 2=-/- 3=1/- keeps nothing
test_api_1 pre_unpatch 1=-/- 2=-/- 3=1/- keeps nothing
test_api_1 post_unpatch 1=-/- 2=-/- 3=1/- keeps nothing" "what the callbacks found"
