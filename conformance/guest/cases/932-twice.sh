# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.18
# name: refused: loading klp.ko twice
# source: design: refusals
load test_target
load test_value_1
refuse "File exists" klp
expect_value 101 "after the refusal"
revert test_value_1
refuse "File exists" klp
load test_value_1
expect_value 101 "after the second refusal"
revert test_value_1
unload test_target
