# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.19
# name: modules that come and go while patching is held up are in the universe of who calls them
# source: Documentation/livepatch/livepatch.rst, 5.2 Enabling; Documentation/livepatch/callbacks.rst
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
go_to_sleep sleep
load test_universe_1 functions=sleep value=1
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
for time in first second; do
    load test_target
    expect_says /sys/module/test_target/parameters/value_at_init 101 "as its init function saw it, the $time time"
    expect_value 101 "who called was switched, the $time time"
    expect_says $KLP_SYS/test_universe_1/test_target/patched 1 "the $time time"
    unload test_target
    expect_says $KLP_SYS/test_universe_1/test_target/patched 0 "gone the $time time"
done
load test_target
expect_value 101 "who called was switched"
release
settle test_universe_1
expect_value 101 "patched"
unload test_target
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 101 "patched"
remove test_universe_1
expect_value 1 "unpatched"
unload test_target test_universe
# The callbacks as the module came and went: in the transition twice, until after it, and after it.
callbacks=$(klog | sed -n 's/.*test_universe_1: \(p[a-z_]*\) test_target$/\1/p' | xargs)
one="pre_patch post_patch pre_unpatch post_unpatch"
short="pre_patch post_unpatch"
expect "$callbacks" "$short $short $one $one" "callbacks of the module"
callbacks=$(klog | sed -n 's/.*test_universe_1: \(p[a-z_]*\) test_universe$/\1/p' | xargs)
expect "$callbacks" "$one" "callbacks of the object that was there"
