# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What the cases about stacks are written with, on top of lib.sh: parked tasks and their walks. What the files do is in
# modules/test_stacks/main.c.

STACKS=/proc/test_stacks

# park KIND [DEPTH [COUNT]]: starts threads; $parked is the last one's process id.
park() {
    echo "$*" >$STACKS/park 2>"$KLP_TMP/said" || fail "no thread can be parked as '$*': $(cat "$KLP_TMP/said")"
    parked=$(tail -n 1 $STACKS/park)
    [ -n "$parked" ] || fail "parked as '$*', and no thread is there"
}

# is_parked PID: a user task that goes to sleep on its own.
is_parked() {
    grep -qx "$1" $STACKS/park
}

# walk PID: $verdict is the first line; $functions the names from schedule() on, $above those before it, $found how each of
# $functions was found; $kernel what the kernel's own walker said, beside ours.
walk() {
    { echo "$1" >$STACKS/walk && cat $STACKS/walk >"$KLP_TMP/walk" && cat $STACKS/kernel >"$KLP_TMP/kernel"; } 2>"$KLP_TMP/said" ||
        fail "task $1 cannot be walked: $(cat "$KLP_TMP/said")"
    verdict=$(says "$KLP_TMP/walk")
    kernel=$(says "$KLP_TMP/kernel")
    above=$(awk 'NR > 1 && $2 == "schedule" { exit } NR > 1 { printf "%s%s", sep, $2; sep = " " }' "$KLP_TMP/walk")
    functions=$(awk '$2 == "schedule" { on = 1 } NR > 1 && on { printf "%s%s", sep, $2; sep = " " }' "$KLP_TMP/walk")
    found=$(awk '$2 == "schedule" { on = 1 } NR > 1 && on { printf "%s%s", sep, $1; sep = " " }' "$KLP_TMP/walk")
}

walked() {
    echo "$(cat "$KLP_TMP/walk"); the kernel: $(cat "$KLP_TMP/kernel")"
}

# expect_reliable PID WHEN...: and where the kernel can tell, the same list as its own.
expect_reliable() {
    pid=$1
    shift
    walk "$pid"
    expect "$verdict" reliable "$*: $(walked)"
    for function in $above; do
        case $function in
        - | __schedule | __switch_to | _switch) ;;
        *) fail "$*: '$function' is no part of the context switch: $(walked)" ;;
        esac
    done
    case $kernel in
    "reliable equal" | "best-effort equal" | unreliable) ;;
    *) fail "$*: the kernel's walker has another list: $(walked)" ;;
    esac
}

# expect_stack PID FUNCTIONS WHEN...: reliable, and these are all functions between schedule() and the thread's start.
expect_stack() {
    expected_functions="schedule $2 kthread"
    pid=$1
    shift 2
    expect_reliable "$pid" "$*"
    expect_functions "$expected_functions" "$*"
}

# expect_functions FUNCTIONS WHEN...: of the last walk, up to where the architecture starts threads.
expect_functions() {
    start=${functions#"$1"}
    [ "$start" != "$functions" ] || fail "$2: expected '$1', found '$functions': $(walked)"
    for function in $start; do
        case $function in
        ret_from_fork | ret_from_fork_asm | __ret_from_fork | ret_from_kernel_thread | ret_from_kernel_user_thread | \
            start_kernel_thread) ;;
        *) fail "$2: '$function' does not start threads: $(walked)" ;;
        esac
    done
}

# expect_within FUNCTIONS WHEN...: the last walk has these next to each other, in this order.
expect_within() {
    case " $functions " in
    *" $1 "*) ;;
    *)
        expected_functions=$1
        shift
        fail "$*: expected '$expected_functions' in '$functions'"
        ;;
    esac
}

# expect_unreliable PID REASON WHEN...
expect_unreliable() {
    pid=$1
    reason=$2
    shift 2
    walk "$pid"
    case $verdict in
    "unreliable $reason "*) ;;
    *) fail "$*: expected 'unreliable $reason', found: $(walked)" ;;
    esac
}

# release: all parked tasks go on, and threads end.
release() {
    echo 1 >$STACKS/release || fail "the parked tasks cannot be released"
}

# graph_on FUNCTIONS, graph_off: the function_graph tracer on these.
graph_on() {
    echo "$1" >$KLP_TRACING/set_ftrace_filter || fail "one of '$1' is not traceable"
    echo function_graph >$KLP_TRACING/current_tracer || fail "there is no function_graph tracer"
}

graph_off() {
    echo nop >$KLP_TRACING/current_tracer
    echo >$KLP_TRACING/set_ftrace_filter
}

# probes_on FUNCTION..., probes_off: a kretprobe on each.
probes_on() {
    for function; do
        echo "r:klp_$function $function" >>$KLP_TRACING/kprobe_events || fail "no kretprobe can be set on $function"
        echo 1 >$KLP_TRACING/events/kprobes/klp_"$function"/enable || fail "the kretprobe on $function cannot be enabled"
    done
}

probes_off() {
    for probe in "$KLP_TRACING"/events/kprobes/klp_*/enable; do
        echo 0 >"$probe"
    done
    echo >$KLP_TRACING/kprobe_events
}

# tally KEY: that number of the comparison in $KLP_TMP/tally.
tally() {
    awk -v key="$1" '$1 == key { print $2; exit }' "$KLP_TMP/tally"
}
