# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.4
# name: a task asleep in a page fault of the kernel's own access to user memory: all callers of it, or unreliable
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.3 Unwinding across interrupts and exceptions; 4.6 Link register unreliability
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
# fault FILE FUNCTION: a reader of FILE faults in FUNCTION, or in what that calls.
fault() {
    cat $STACKS/"$1" &
    faulting=$!
    wait_for 5 is_parked $faulting || fail "the reader of $1 is not asleep in a fault"
    walk $faulting
    case "$(uname -m) $verdict" in
    "x86_64 reliable")
        # Its tables describe every instruction.
        expect_reliable $faulting "$1"
        expect_within "$2 fault_read proc_reg_read vfs_read" "$1"
        ;;
    x86_64*) fail "$1: expected reliable: $(walked)" ;;
    *" reliable")
        expect_reliable $faulting "$1"
        expect_within "$2 fault_read proc_reg_read vfs_read" "$1"
        ;;
    *" unreliable exception "* | *" unreliable caller-in-register "*)
        expect_within "schedule stacks_sleep_here stacks_fault" "$1, before the exception"
        case $kernel in
        unreliable | best-effort*) ;;
        *) fail "$1: the kernel's walker does better: $(walked)" ;;
        esac
        ;;
    *) fail "$1: expected reliable, exception or caller-in-register: $(walked)" ;;
    esac
    release
    wait $faulting
}
fault fault-copy stacks_copy
fault fault-get stacks_get
unload test_stacks
