# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.4
# name: a task asleep in a page fault of the kernel's own access to user memory: all callers of it, or unreliable as the architecture has it
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.3 Unwinding across interrupts and exceptions; 4.6 Link register unreliability
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
# fault FILE FUNCTION REASON: a reader of FILE faults in FUNCTION, or in what that calls; "reliable" is no reason.
fault() {
    cat $STACKS/"$1" &
    faulting=$!
    wait_for 5 is_parked $faulting || fail "the reader of $1 is not asleep in a fault"
    if [ "$3" = reliable ]; then
        expect_reliable $faulting "$1"
        expect_within "$2 fault_read proc_reg_read vfs_read" "$1"
    else
        expect_unreliable $faulting "$3" "$1"
        expect_within "schedule stacks_sleep_here stacks_fault" "$1, before the exception"
        case $kernel in
        unreliable | best-effort*) ;;
        *) fail "$1: the kernel's walker does better: $(walked)" ;;
        esac
    fi
    release
    wait $faulting
}
stated FAULT_IN_COPY FAULT_IN_GET
fault fault-copy stacks_copy "$FAULT_IN_COPY"
fault fault-get stacks_get "$FAULT_IN_GET"
unload test_stacks
