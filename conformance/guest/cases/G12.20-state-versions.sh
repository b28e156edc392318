# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.20
# name: system states: the same version and a newer one are accepted, an older one is refused, others are nobody's concern
# source: Documentation/livepatch/system-state.rst, "Livepatch compatibility"
load test_target
load test_api_1 ids=1,2 versions=2,5
expect_value 301
incompatible() {
    refuse "Invalid argument" test_api_2 "$@"
    expect_log "livepatch: Livepatch patch (test_api_2) is not compatible with the already installed livepatches."
    [ -d $KLP_SYS/test_api_2 ] && fail "$*: its directory is there"
    expect_value 301 "after the refusal of $*"
}
incompatible ids=1 versions=1
expect_log "klp: system state 0x1 is there in version 2"
incompatible ids=1,2 versions=2,4
expect_log "klp: system state 0x2 is there in version 5"
incompatible ids=3,2 versions=1,0
klog | grep -q "enabling patch 'test_api_2'" && fail "what is refused was begun"
for states in "ids=1 versions=2" "ids=1 versions=4294967295" "ids=2,1 versions=6,2" "ids=3 versions=0" ""; do
    load test_api_2 $states
    expect_value 302 "with $states"
    revert test_api_2
    expect_value 301 "without it"
done
# Several patches may have changed a state: the newest version counts.
load test_api_2 ids=1 versions=7
refuse "Invalid argument" test_api_3 ids=1 versions=6
load test_api_3 ids=1 versions=7
revert test_api_3 test_api_2 test_api_1
unload test_target
