# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.22
# name: refused: every allocation in turn fails while a cumulative patch replaces another
# source: design: refusals; fault injection: klp.fail_nth
# timeout: 240
load test_target
load test_value_1
unharmed() {
    expect_value 101 "$1"
    expect_says /proc/cmdline "$KLP_CMDLINE" "$1"
    expect "$(ls $KLP_SYS)" test_value_1 "patches, $1"
    expect_says $KLP_SYS/test_value_1/enabled 1 "$1"
    expect_says $KLP_SYS/test_value_1/transition 0 "$1"
}
fail_each test_many replace=1
expect_value 201 "once it was accepted"
gone test_value_1
revert test_many
expect_untouched
unload test_target
