# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.9
# name: a patched function gets a kretprobe while another function has had one since before the patch; the patch keeps working
# source: Documentation/trace/kprobes.rst, "How Does a Return Probe Work?": all probes on ftrace share one callback
need_entry_probes
stated PROBE_UNDOES_REDIRECT
[ -z "$PROBE_UNDOES_REDIRECT" ] || skip "known gap: $PROBE_UNDOES_REDIRECT"
load test_target
echo 'r:klp_other test_target:test_second' >$KLP_TRACING/kprobe_events || fail "no kretprobe can be set"
echo 1 >$KLP_TRACING/events/kprobes/klp_other/enable || fail "the kretprobe cannot be enabled"
load test_value_1
expect_value 101 "patched"
echo 'r:klp_test test_target:test_value' >>$KLP_TRACING/kprobe_events || fail "no kretprobe can be set on the patched function"
echo 1 >$KLP_TRACING/events/kprobes/klp_test/enable || fail "the kretprobe on the patched function cannot be enabled"
expect_value 101 "patched, then probed"
echo 0 >$KLP_TRACING/events/kprobes/klp_test/enable
echo 0 >$KLP_TRACING/events/kprobes/klp_other/enable
echo >$KLP_TRACING/kprobe_events
revert test_value_1
unload test_target
