# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.28
# name: functions that are traced, or probed at their return, before or during a transition: tasks asleep in them hold it up as ever
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.4 Rewriting of return addresses
# timeout: 120
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
trace() {
    echo universe_sleep >$KLP_TRACING/set_ftrace_filter || fail "universe_sleep is not traceable"
    echo function_graph >$KLP_TRACING/current_tracer || fail "there is no function_graph tracer"
}
probe() {
    echo "r:klp_universe universe_sleep" >$KLP_TRACING/kprobe_events || fail "no kretprobe can be set"
    echo 1 >$KLP_TRACING/events/kprobes/klp_universe/enable || fail "the kretprobe cannot be enabled"
}
unprobe() {
    echo 0 >$KLP_TRACING/events/kprobes/klp_universe/enable
    echo >$KLP_TRACING/kprobe_events
}
# held_up WHEN: in a patching and an unpatching transition; $during is run in each, $after when it is over.
held_up() {
    go_to_sleep sleep
    load test_universe_1 functions=sleep,which
    expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
    $during
    expect_blocked test_universe_1 $sleeper cat "universe_sleep [test_universe]"
    expect "$(here)" 1 "patching, $1"
    release
    settle test_universe_1
    wait $sleeper
    $after
    go_to_sleep sleep
    disable test_universe_1
    expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
    $during
    expect_blocked test_universe_1 $sleeper cat "new_universe_sleep [test_universe_1]"
    expect "$(here)" 0 "unpatching, $1"
    release
    gone test_universe_1
    wait $sleeper
    $after
}
during=: after=:
trace
held_up "traced before"
trace_off
during=trace after=trace_off
held_up "traced meanwhile"
during=: after=:
stated PROBE_UNDOES_REDIRECT
if [ -n "$PROBE_UNDOES_REDIRECT" ]; then
    # As in G8.6.
    probe
    refuse "Device or resource busy\|resource busy" test_universe_1 functions=sleep,which
    unprobe
elif ! probes_entries; then
    note "without a kretprobe, which cannot be set here"
else
    probe
    held_up "probed before"
    unprobe
    during=probe after=unprobe
    held_up "probed meanwhile"
fi
unload test_universe
