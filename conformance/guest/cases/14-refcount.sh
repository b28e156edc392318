# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.5
# name: a patch module is held while it is enabled, and free once it has drained
# source: Documentation/livepatch/livepatch.rst, "Disabling" and "Removing"
load livepatch-cmdline
expect_says /sys/module/livepatch_cmdline/refcnt 1 "enabled"
refuse_unload "Resource temporarily unavailable" livepatch_cmdline
expect_says /proc/cmdline "this has been live patched" "after a refused rmmod"
disable livepatch_cmdline
wait_for 10 is_gone livepatch_cmdline || fail "it does not drain"
is_free() { [ "$(says /sys/module/livepatch_cmdline/refcnt)" = 0 ]; }
wait_for 2 is_free || fail "refcnt is $(says /sys/module/livepatch_cmdline/refcnt) after it drained"
unload livepatch_cmdline
