# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.26
# name: functions of RCU, of workqueues, of sysfs, of the module loader and of stop_machine: done, or held up and reversed, or refused
# source: Documentation/livepatch/livepatch.rst, 7 Limitations; design: the engine's own callers
# timeout: 180
. "${KLP_LIB%/*}/transitions.sh"
echo 100 >$KLP_PARAMETERS/signal_after_ms
done=0 held=0 forced=0 refused=0
# patch_of FUNCTION
patch_of() {
    if ! insmod "$KLP_MODULES/test_passthrough.ko" symbol="$1" 2>"$KLP_TMP/said"; then
        expect_log "'$1'"
        is_gone test_passthrough || fail "$1: refused, and still there"
        refused=$((refused + 1))
        return
    fi
    if wait_for 1 settled test_passthrough; then
        done=$((done + 1))
    else
        # It has to say where they are, or what they do.
        cat $KLP_SYS/test_passthrough/blocked >"$KLP_TMP/blocked"
        grep -qE " $1\+0x| running " "$KLP_TMP/blocked" || settled test_passthrough ||
            fail "$1: it is held up, and nobody is named for it: $(blocked test_passthrough)"
        held=$((held + 1))
        note "$1 is held up by $(head -n 1 "$KLP_TMP/blocked")"
    fi
    # A thread that is in it at nearly every look, as RCU's is in a grace period, is named, and leaves once it is switched.
    disable test_passthrough
    if ! wait_for 10 is_gone test_passthrough; then
        grep -qE " [a-z_]+\+0x" $KLP_SYS/test_passthrough/blocked 2>/dev/null || is_gone test_passthrough ||
            fail "$1: it does not go, and nobody is named for it: $(blocked test_passthrough)"
        echo 1 2>/dev/null >$KLP_SYS/test_passthrough/force
        forced=$((forced + 1))
        note "$1: forced back"
    fi
    gone test_passthrough
}
# Not worker_thread: a worker that is born meanwhile stays in the replacement until it has been idle for five minutes.
for function in synchronize_rcu call_rcu rcu_gp_fqs_loop rcu_core vfs_write ksys_write kernfs_fop_write_iter do_init_module \
    process_one_work queue_delayed_work_on smpboot_thread_fn cpu_stopper_thread multi_cpu_stop stop_machine \
    ftrace_modify_all_code; do
    grep -qx "$function" $KLP_TRACING/available_filter_functions || continue
    patch_of $function
done
note "functions: $done done, $held held up and reversed, $forced forced back, $refused refused"
[ $((done + held)) -ge 8 ] || fail "too few of these functions are there: $done done, $held held up, $refused refused"
echo 15000 >$KLP_PARAMETERS/signal_after_ms
