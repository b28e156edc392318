# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.23
# name: refused: every allocation in turn fails while a module to be patched is loaded
# source: design: refusals; fault injection: klp.fail_nth
# timeout: 240
load test_value_1
load test_many
unharmed() {
    [ ! -d /sys/module/test_target ] || fail "test_target is loaded, $1"
    expect_says /proc/cmdline "cmdline by test_many" "$1"
    expect_says $KLP_SYS/test_value_1/test_target/patched 0 "$1"
    expect_says $KLP_SYS/test_many/test_target/patched 0 "$1"
    expect_says $KLP_SYS/test_many/vmlinux/patched 1 "$1"
}
fail_each test_target
expect_says /sys/module/test_target/parameters/value_at_init 201 "once it was accepted"
expect "$(says $TARGET/value),$(says $TARGET/second),$(says $TARGET/twins)" "201,202,210 210" "once it was accepted"
revert test_many
expect_value 101 "the patch below"
revert test_value_1
expect_untouched
unload test_target
