# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.7
# name: refused: flags that are no model
# source: reference/2014-consistency-models.txt; design: the engine
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
for flags in 3 5 7 8 0x80000000; do
    refuse "Invalid argument\|invalid parameter" test_universe_1 flags=$flags functions=which
    expect "$(here)" 0 "refused with flags $flags"
    is_gone test_universe_1 || fail "it is still there with flags $flags"
done
expect_log "klp_patch.flags is 0x3"
expect_log "klp_patch.flags is 0x8"
unload test_universe
