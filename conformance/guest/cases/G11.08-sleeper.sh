# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.8
# name: a task asleep in a function that is patched holds the transition, is named, and ends it when it leaves
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
go_to_sleep sleep
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
expect_says $KLP_SYS/test_universe_1/enabled 1 "in transition"
# Everybody else is in the new universe: the engine says so, and so do they.
expect "$(here) $(which)" "1 1" "the universe of this task and of a new one"
seconds() { awk '{ print $NF * 1000 }' $KLP_SYS/test_universe_1/blocked; }
before=$(seconds)
usleep 300000
[ $(($(seconds) - before)) -ge 290 ] || fail "it says that the task was there for $(seconds) ms, and 300 ms before for $before ms"
release
settle test_universe_1
# It had not left before: the call was one of the old universe.
wait $sleeper
case $(says "$KLP_TMP/woken.$sleeper") in
"0 0" | "0 1") ;;
*) fail "the sleeper got '$(says "$KLP_TMP/woken.$sleeper")', expected 0 and then 0 or 1" ;;
esac
expect_log "'test_universe_1': patching complete"

# The same on the way back: asleep in the replacement.
go_to_sleep sleep
disable test_universe_1
expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
expect_says $KLP_SYS/test_universe_1/enabled 0 "in transition"
expect "$(here) $(which)" "0 0" "the universe of this task and of a new one"
refuse_unload "Resource temporarily unavailable" test_universe_1
release
gone test_universe_1
wait $sleeper
case $(says "$KLP_TMP/woken.$sleeper") in
"1 0" | "1 1") ;;
*) fail "the sleeper got '$(says "$KLP_TMP/woken.$sleeper")', expected 1 and then 0 or 1" ;;
esac
expect_log "'test_universe_1': unpatching complete"
unload test_universe
