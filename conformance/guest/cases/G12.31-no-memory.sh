# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.31
# name: refused: every allocation in turn fails, those of shadow variables in callbacks among them
# source: design: refusals; fault injection: klp.fail_nth
# timeout: 240
load test_target
fail_each test_api_1 "ids=1,2 versions=1,1"
expect_value 301 "once it was accepted"
expect_log "test_api_1: post_patch vmlinux 1=1/- 2=1/- 3=-/- keeps test_api_1"
revert test_api_1
expect_untouched
unload test_target
unload klp
klog | grep -q "were left" && fail "a shadow variable is left: $(klog | grep "were left")"
load klp
