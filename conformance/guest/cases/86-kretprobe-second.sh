# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G8.7
# name: a patched function gets a kretprobe, and is reverted while it has it
# source: Documentation/trace/kprobes.rst, "How Does a Return Probe Work?"; design: return trampolines
need_entry_probes
load test_target
load test_value_1
probe_on
probed 101 "patched, then probed"
expect_says $TARGET/saved 101 "patched, then probed"
probe_off
expect_value 101 "patched, not probed any more"
probe_on
revert test_value_1
probed 1 "probed, reverted"
probe_off
unload test_target
