# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.2
# name: a function called from NMI context is patched and reverted
# source: reference/2017-rcu-in-the-ftrace-handler.txt: the callback runs in any context
stated NO_NMI
[ -z "$NO_NMI" ] || skip "$NO_NMI"
# nmis VALUE WHEN: backtraces of all CPUs, which are asked for by NMI.
nmis() {
    cat $TARGET/nmi >/dev/null
    echo l >/proc/sysrq-trigger
    says $TARGET/nmi >"$KLP_TMP/nmi"
    calls=$(cut -d ' ' -f 3 "$KLP_TMP/nmi")
    [ "$calls" -gt 0 ] || fail "no NMI, $2: $(cat "$KLP_TMP/nmi")"
    expect_says "$KLP_TMP/nmi" "nmi calls $calls misplaced 0 sum $((calls * $1))" "$2"
}
echo 1 >/proc/sys/kernel/sysrq
load test_target
nmis 1 "unpatched"
load test_contexts
nmis 2 "patched"
nmis 2 "patched"
revert test_contexts
nmis 1 "reverted"
unload test_target
