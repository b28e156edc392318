# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.14
# name: a running task is refused
# source: Documentation/livepatch/reliable-stacktrace.rst, 2. Requirements
. "${KLP_LIB%/*}/stacks.sh"
[ "$(nproc)" -gt 1 ] || fail "expected a guest with more than one CPU"
load test_stacks
park spin
refused=0
for attempt in $(seq 8); do
    walk $parked
    case $verdict in
    "unreliable running "*)
        expect "$functions" "" "functions of a running thread"
        refused=$((refused + 1))
        ;;
    # It had made way for another task.
    reliable) grep -q ' stacks_spin ' "$KLP_TMP/walk" || fail "a thread that spins, switched out: $(walked)" ;;
    *) fail "a thread that spins: $(walked)" ;;
    esac
done
[ $refused -gt 0 ] || fail "expected the thread to run in one of eight walks, found: $(walked)"
release
unload test_stacks
