# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.7
# name: callbacks are called for each object that is loaded, in order
# source: Documentation/livepatch/callbacks.rst, "Object (un)patching callbacks"
callbacks() { klog | sed -n 's/.*test_many: //p' | grep _ | xargs; }
load test_many
expect "$(callbacks)" "pre_patch vmlinux post_patch vmlinux" "without the target module"
load test_target
expect "$(callbacks | cut -d ' ' -f 5-)" "pre_patch test_target post_patch test_target" "as the target module comes"
unload test_target
expect "$(callbacks | cut -d ' ' -f 9-)" "pre_unpatch test_target post_unpatch test_target" "as the target module goes"
revert test_many
expect "$(callbacks | cut -d ' ' -f 13-)" "pre_unpatch vmlinux post_unpatch vmlinux" "as the patch is disabled"
