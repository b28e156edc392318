# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G9.19
# name: refused: unloading klp.ko while a patch module is there; without one it goes and comes back
# source: design: refusals
load test_target
load test_value_1
refuse_unload "Resource temporarily unavailable" klp
expect_value 101 "after the refusal"
disable test_value_1
wait_for 10 is_gone test_value_1 || fail "it does not drain"
refuse_unload "Resource temporarily unavailable" klp
unload test_value_1
for again in 1 2 3; do
    unload klp
    [ ! -e $KLP_SYS ] || fail "$KLP_SYS is still there"
    [ ! -L /sys/kernel/livepatch ] || fail "/sys/kernel/livepatch is still there"
    load klp
    load test_value_1
    expect_value 101 "loaded again"
    revert test_value_1
done
unload test_target
