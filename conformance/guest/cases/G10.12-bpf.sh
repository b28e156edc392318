# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.12
# name: a BPF program on a stack: unreliable if it was compiled, the exact list if it is interpreted
# source: Documentation/livepatch/reliable-stacktrace.rst, 4.2 Identifying unwindable code
. "${KLP_LIB%/*}/stacks.sh"
jit=/proc/sys/net/core/bpf_jit_enable
before=$(cat $jit 2>/dev/null)
[ -z "$before" ] || echo 1 >$jit
load test_stacks
park bpf
case $(says $STACKS/bpf) in
compiled)
    expect_unreliable $parked unwalkable "in compiled code"
    case $verdict in
    *" bpf_prog_"*) ;;
    *) fail "expected the program's own address, found '$verdict'" ;;
    esac
    ;;
*)
    expect_reliable $parked "interpreted"
    expect_within "stacks_bpf stacks_thread kthread" "interpreted"
    expect "${functions%% stacks_bpf *}" "schedule ___bpf_prog_run __bpf_prog_run64" "interpreted"
    ;;
esac
release
unload test_stacks
[ -z "$before" ] || echo "$before" >$jit
