# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.21
# name: refused: every allocation in turn fails while a patch of several objects is enabled
# source: design: refusals; fault injection: klp.fail_nth
# timeout: 240
load test_target
fail_each test_many
expect "$(says $TARGET/value),$(says $TARGET/second),$(says $TARGET/twins)" "201,202,210 210" "once it was accepted"
expect_says /proc/cmdline "cmdline by test_many"
revert test_many
expect_untouched
unload test_target
