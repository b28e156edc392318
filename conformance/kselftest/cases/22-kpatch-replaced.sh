# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K2.3
# name: kpatch no longer lists a patch that another one has replaced, and loads it again
# source: kpatch(1); Documentation/livepatch/cumulative-patches.rst
# timeout: 300

. /klp/kselftest.sh
KO=$SELFTESTS/test_modules/test_klp_livepatch.ko

kpatch_says "loading patch module" load $KO
insmod $SELFTESTS/test_modules/test_klp_atomic_replace.ko replace=1 || fail "the second patch was refused"
wait_for 10 is_replaced || fail "the first patch is still there: $(kpatch list)"
expect_says /proc/cmdline "$KLP_CMDLINE" "after it was replaced"
kpatch_says '^test_klp_atomic_replace \[enabled\]$' list
# It is disabled and cannot be enabled again: kpatch unloads it first.
kpatch_says "loading patch module" load $KO
expect_says /proc/cmdline "test_klp_livepatch: this has been live patched" "after it was loaded again"
kpatch_says "unloading patch module: test_klp_livepatch" unload --all
kpatch_lacks enabled list
