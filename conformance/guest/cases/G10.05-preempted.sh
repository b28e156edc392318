# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.5
# name: threads preempted at a function's first instruction and elsewhere in it: the caller is never missing
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.3 Unwinding across interrupts and exceptions; 4.6 Link register unreliability
. "${KLP_LIB%/*}/stacks.sh"
mode=/sys/kernel/debug/sched/preempt
[ -w $mode ] || skip "this kernel does not preempt its own code (no PREEMPT_DYNAMIC), so an interrupted thread runs and is refused"
before=$(sed 's/.*(\(.*\)).*/\1/' $mode)
load test_stacks
echo full >$mode
park spin 1 2
sample() {
    echo "$1" >$STACKS/preempted
    cat $STACKS/preempted >"$KLP_TMP/tally"
    expect "$(tally missing)" 0 "$2: reliable, and a caller is missing: $(cat "$KLP_TMP/tally")"
    expect "$(tally different) $(tally fewer) $(tally not-refused)" "0 0 0" "$2, against the kernel's walker: $(cat "$KLP_TMP/tally")"
    [ "$(tally walks)" -ge "$1" ] || fail "$2: only $(tally walks) of $1 walks met a preempted thread in ten seconds"
}
sample 300 "not traced"
[ "$(tally at-entry)" -gt 0 ] || fail "no thread was preempted at the function's first instruction: $(cat "$KLP_TMP/tally")"
[ "$(tally in-caller)" -gt 0 ] || fail "no thread was preempted in the caller: $(cat "$KLP_TMP/tally")"
graph_on stacks_tiny
sample 200 "traced"
graph_off
probes_on stacks_tiny
sample 200 "probed"
probes_off
release
echo "$before" >$mode
unload test_stacks
