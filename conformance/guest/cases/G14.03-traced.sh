# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G14.3
# name: a function that is entered directly is traced, graphed, probed and probed at its return, and reverted meanwhile
# source: design: other ftrace users keep working; Documentation/trace/ftrace.rst, kprobes.rst
. "${KLP_LIB%/*}/entries.sh"
load test_target
# patched WHEN: patched and settled.
patched() {
    load test_value_1
    expect_entry $cheapest test_value_1 test_target test_value "$1"
    expect_value 101 "$1"
}
function_on() {
    echo test_value >$KLP_TRACING/set_ftrace_filter || fail "test_value is not traceable"
    echo function >$KLP_TRACING/current_tracer || fail "there is no function tracer"
}
kprobe_on() {
    echo "p:klp_test test_target:test_value" >$KLP_TRACING/kprobe_events || fail "no kprobe can be set"
    echo 1 >$KLP_TRACING/events/kprobes/klp_test/enable || fail "the kprobe cannot be enabled"
}
# seen WORDS VALUE WHEN: a call gives the value, and the trace has the words.
seen() {
    echo >$KLP_TRACING/trace
    expect_value "$2" "$3"
    grep -q "$1" $KLP_TRACING/trace || fail "the call was not seen, $3: $(tail -n 2 $KLP_TRACING/trace)"
}
# watched BY ON OFF WORDS: switched on and off while the function is entered directly, and while it is reverted.
watched() {
    patched "before $1"
    for time in 1 2; do
        $2
        seen "$4" 101 "patched, then watched by $1"
        expect_says $TARGET/saved 101 "patched, then watched by $1"
        expect "$(entry_of test_value_1 test_target test_value)" $cheapest "the entry, watched by $1"
        $3
        expect_value 101 "not watched by $1 any more"
    done
    $2
    revert test_value_1
    seen "$4" 1 "watched by $1, reverted"
    $3
    expect_value 1 "reverted, not watched by $1 any more"
}
watched function function_on trace_off test_value
if probes_entries; then
    watched kprobe kprobe_on probe_off klp_test
    watched kretprobe probe_on probe_off klp_test
else
    note "without kprobes, which cannot be at its entry here"
fi
# It is its address that the graph tracer sees, or its replacement's: all it needs is that calls go on to return.
patched "before function_graph"
trace_on
expect_value 101 "patched, then graphed"
expect_says $TARGET/saved 101 "patched, then graphed"
revert test_value_1
expect_value 1 "graphed, reverted"
traced "reverted"
trace_off
unload test_target
