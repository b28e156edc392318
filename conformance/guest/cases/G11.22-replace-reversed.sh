# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.22
# name: a cumulative patch that is held up is reversed: the patches that it was to replace are back; modules come and go
# source: Documentation/livepatch/cumulative-patches.rst; Documentation/livepatch/livepatch.rst, 5.3 Replacing
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
load test_universe_1 functions=which,sleep
settle test_universe_1
load test_universe_2 functions=which value=1
settle test_universe_2
expect "$(here)" 2 "two patches"
go_to_sleep sleep
load test_universe_3 functions=which replace=1 value=1
expect_blocked test_universe_3 $sleeper cat "new_universe_sleep [test_universe_1]"
expect "$(here) $(which)" "3 3" "while replacing"
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 103 "loaded while replacing"
expect_value 103 "loaded while replacing"
for patch in test_universe_1 test_universe_2; do
    [ -d $KLP_SYS/$patch ] || fail "$patch is gone before the transition is over"
    refuse_unload "Resource temporarily unavailable" $patch
done
disable test_universe_3
gone test_universe_3
expect "$(here) $(which)" "2 2" "reversed"
expect_value 102 "reversed"
expect "$(cat $KLP_SYS/test_universe_1/enabled $KLP_SYS/test_universe_2/enabled | xargs)" "1 1" "the patches below"
is_asleep $sleeper || fail "the sleeper has left"
unload test_target
load test_target
expect_says /sys/module/test_target/parameters/value_at_init 102 "loaded after the reverse"

# Held up again, and then not.
load test_universe_3 functions=which replace=1 value=1
expect_blocked test_universe_3 $sleeper cat "new_universe_sleep [test_universe_1]"
expect_value 103 "while replacing"
release
settle test_universe_3
gone test_universe_1 test_universe_2
expect "$(ls $KLP_SYS)" test_universe_3 "patches left"
expect "$(here) $(which)" "3 3" "replaced"
case $(wait $sleeper; says "$KLP_TMP/woken.$sleeper") in
"1 2" | "1 3") ;;
*) fail "the sleeper got '$(says "$KLP_TMP/woken.$sleeper")', expected 1 and then 2 or 3" ;;
esac
remove test_universe_3
expect "$(here)" 0 "nothing below comes back"
expect_value 1 "nothing below comes back"
unload test_target test_universe
