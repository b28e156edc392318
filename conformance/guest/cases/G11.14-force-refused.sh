# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.14
# name: force is refused when there is no transition, and if what is written is no number
# source: Documentation/ABI/testing/sysfs-kernel-livepatch, force
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
load test_universe_1 functions=which
settle test_universe_1
refuse_store 1 $KLP_SYS/test_universe_1/force "Invalid argument" "no transition"
for value in x ''; do
    refuse_store "$value" $KLP_SYS/test_universe_1/force "Invalid argument" "no number"
done
expect_says $KLP_SYS/test_universe_1/transition 0 "after what was refused"
remove test_universe_1
unload test_universe
