# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.32
# name: klp_object.mod is the module in each of its callbacks, whether it is live, coming or going; vmlinux has none
# source: include/linux/livepatch.h, struct klp_object; Documentation/livepatch/callbacks.rst
target() {
    klog | sed -n 's/.*test_api_1: \([a-z_]* test_target.*\) 1=.*/\1/p'
}
load test_api_1
load test_target
unload test_target
load test_target
revert test_api_1
load test_api_1
revert test_api_1
unload test_target
expect "$(target)" "\
pre_patch test_target coming
post_patch test_target coming
pre_unpatch test_target going
post_unpatch test_target going
pre_patch test_target coming
post_patch test_target coming
pre_unpatch test_target live
post_unpatch test_target live
pre_patch test_target live
post_patch test_target live
pre_unpatch test_target live
post_unpatch test_target live" "what the callbacks saw"
klog | grep -q "vmlinux which has a module" && fail "vmlinux has a module: $(klog | grep "which has a module")"
# A module that is refused is not there for later callbacks either.
load test_api_1 refuse=-19
refuse "No such device" test_target
disable test_api_1
gone test_api_1
expect "$(klog | sed '1,/refusing to load module/d' | grep "test_api_1: .* test_target")" "" "callbacks for a module that was refused"
