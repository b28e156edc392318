# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.2
# name: sysfs shows patches, objects and functions as the kernel's ABI says
# source: Documentation/ABI/testing/sysfs-kernel-livepatch
load test_target
load test_many
dir=$KLP_SYS/test_many
expect_says $dir/enabled 1
expect_says $dir/transition 0
expect_says $dir/replace 0
expect_says $dir/stack_order 1
expect_says $dir/vmlinux/patched 1
expect_says $dir/test_target/patched 1
expect_says $dir/test_never_loaded/patched 0
for func in vmlinux/cmdline_proc_show,1 vmlinux/version_proc_show,1 test_target/test_value,1 test_target/test_second,1 \
    test_target/test_twin,1 test_target/test_twin,2 test_never_loaded/test_absent,1; do
    [ -d $dir/$func ] || fail "there is no $dir/$func; there is: $(cd $dir && find . -type d | xargs)"
done
expect "$(find $dir -mindepth 2 -maxdepth 2 -type d | wc -l)" 7 "number of functions"

load test_value_1 replace=1
expect_says $KLP_SYS/test_value_1/replace 1
gone test_many
expect_says $KLP_SYS/test_value_1/stack_order 1
load test_value_2
expect_says $KLP_SYS/test_value_2/stack_order 2

# What cannot be written.
for file in transition replace stack_order; do
    echo 1 2>/dev/null >$KLP_SYS/test_value_2/$file && fail "$file can be written"
done
for value in 1 2 x ''; do
    echo "$value" 2>/dev/null >$KLP_SYS/test_value_2/enabled && [ "$value" != 1 ] && fail "enabled takes '$value'"
done
echo 1 2>/dev/null >$KLP_SYS/test_value_2/enabled && fail "an enabled patch can be enabled"
expect_value 102
revert test_value_2 test_value_1
unload test_target
