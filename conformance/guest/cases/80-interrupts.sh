# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.1
# name: a function called from IPI, irq_work and softirq is patched and reverted
# source: reference/2017-rcu-in-the-ftrace-handler.txt: the callback runs in any context
# contexts VALUE WHEN: in each kind of context every call gave this value.
contexts() {
    cat $TARGET/contexts >"$KLP_TMP/contexts"
    for context in ipi irq_work softirq; do
        found=$(grep "^$context " "$KLP_TMP/contexts")
        calls=${found#* calls }
        calls=${calls%% *}
        [ "${calls:-0}" -gt 0 ] || fail "no call from $context, $2: '$found'"
        expect "$found" "$context calls $calls misplaced 0 sum $((calls * $1))" "$2"
    done
}
[ "$(nproc)" -gt 1 ] || fail "expected a guest with more than one CPU"
load test_target
contexts 1 "unpatched"
load test_contexts
for attempt in 1 2 3 4 5; do
    contexts 2 "patched"
done
revert test_contexts
contexts 1 "reverted"
unload test_target
