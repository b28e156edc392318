# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.9
# name: a kernel thread asleep in a function that is patched holds the transition, is named, and ends it when it leaves
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
thread sleep
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $thread universe-sleep "universe_sleep [test_universe]"
release
settle test_universe_1
case $(thread_says $thread) in
"0 0" | "0 1") ;;
*) fail "the thread got '$(thread_says $thread)', expected 0 and then 0 or 1" ;;
esac
thread sleep
disable test_universe_1
expect_blocked test_universe_1 $thread universe-sleep "new_universe_sleep [test_universe_1]"
refuse_unload "Resource temporarily unavailable" test_universe_1
release
gone test_universe_1
unload test_universe
