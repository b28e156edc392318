# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.3
# name: the immediate model promises nothing: calls are mixed, their callers patched or not
# source: reference/2014-consistency-models.txt, LEAVE_FUNCTION and SWITCH_FUNCTION
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
hammer ten pair
cycles_until all_work_was_mixed $IMMEDIATE $CALLERS
work_overlapped || cycles_until work_overlapped $IMMEDIATE $CALLERS
expect_worked
hammer_off
unload test_universe
