# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.3
# name: the immediate model promises nothing: calls are mixed, their callers patched or not
# source: reference/2014-consistency-models.txt, LEAVE_FUNCTION and SWITCH_FUNCTION
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
hammer ten pair
cycles 3 $IMMEDIATE $CALLERS
expect_mixed
[ "$(tally all overlaps)" -gt 0 ] || fail "work of two universes never overlapped: these cases would not see it: $(cat $UNIVERSE/tally)"
hammer_off
unload test_universe
