# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.13
# name: force: the tasks that are left are switched where they are; the module stays until nobody returns to it
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model; Documentation/ABI/testing/sysfs-kernel-livepatch, force
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
dir=$KLP_SYS/test_universe_1
go_to_sleep sleep
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
echo 1 >$dir/force || fail "force is refused"
settle test_universe_1
expect_says $dir/enabled 1 "forced"
expect "$(here)" 1 "forced"
is_asleep $sleeper || fail "the sleeper has left"
release
# The old call, and then a new one: what force does.
expect_woken $sleeper "0 1" "forced"

# Forced out of the replacement, a task still returns into it.
go_to_sleep sleep
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
echo 1 >$dir/force || fail "force is refused"
expect "$(here) $(which)" "0 0" "forced"
named() { klog | grep -qF "'test_universe_1': task $sleeper (cat) may still run it at"; }
wait_for 10 named || fail "the log does not name task $sleeper, which may still run it: $(klog | tail -n 3)"
is_asleep $sleeper || fail "the sleeper has left"
refuse_unload "Resource temporarily unavailable" test_universe_1
[ -d /sys/module/test_universe_1 ] || fail "the module is gone, with a task asleep in it"
release
expect_woken $sleeper "1 0" "forced, unpatching"
gone test_universe_1
unload test_universe
