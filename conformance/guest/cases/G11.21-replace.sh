# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.21
# name: a cumulative patch takes the place of two in one transition: nothing is ever mixed
# source: Documentation/livepatch/cumulative-patches.rst; Documentation/livepatch/livepatch.rst, 5.3 Replacing
# timeout: 180
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
hammer ten pair
for turn in 1 2 3; do
    load test_universe_1 functions=which,add,ten
    settle test_universe_1
    load test_universe_2 functions=which,add,seal,open,ten,pair
    settle test_universe_2
    usleep 30000
    load test_universe_3 functions=which,add,seal,open,ten,pair replace=1
    settle test_universe_3
    gone test_universe_1 test_universe_2
    expect "$(here)" 3 "replaced"
    usleep 30000
    remove test_universe_3
done
hammer_off
for work in ten pair; do
    for universe in universe2 universe3; do
        [ "$(tally $work $universe)" -gt 0 ] || fail "$work was never done in $universe: $(cat $UNIVERSE/tally)"
    done
done
expect_whole
unload test_universe
