# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G1.1
# name: a function of vmlinux is patched and reverted
# source: Documentation/livepatch/livepatch.rst, "Livepatch life-cycle"
load livepatch-cmdline
expect_says /proc/cmdline "this has been live patched" "patched"
expect_log "enabling patch 'livepatch_cmdline'"
expect_log "'livepatch_cmdline': patching complete"
disable livepatch_cmdline
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
gone livepatch_cmdline
expect_log "'livepatch_cmdline': unpatching complete"
