# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.2
# name: the hybrid model promises nothing of callers that are not patched: there the same work is mixed
# source: reference/2014-consistency-models.txt: "only when the function calling it is not included in the patched set"
# cpus: 4
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
hammer ten pair
cycles_until all_work_was_mixed $HYBRID $CALLED
hammer_off
expect_worked
unload test_universe
