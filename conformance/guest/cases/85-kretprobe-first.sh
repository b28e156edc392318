# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.6
# name: a function with a kretprobe is patched and reverted and the probe sees the result, or the patch is refused
# source: Documentation/trace/kprobes.rst, "How Does a Return Probe Work?"; design: return trampolines
need_entry_probes
load test_target
probe_on
probed 1 "unpatched"
stated PROBE_UNDOES_REDIRECT
if [ -n "$PROBE_UNDOES_REDIRECT" ]; then
    # The patch would silently do nothing.
    refuse "Device or resource busy\|resource busy" test_value_1
    expect_log "a kprobe on function 'test_value' would undo the redirect"
    probed 1 "refused"
    probe_off
    load test_value_1
    expect_value 101 "patched once the probe is gone"
    revert test_value_1
    unload test_target
    exit 0
fi
load test_value_1
probed 101 "probed, then patched"
expect_says $TARGET/saved 101 "probed, then patched"
revert test_value_1
probed 1 "probed, reverted"
probe_off
unload test_target
