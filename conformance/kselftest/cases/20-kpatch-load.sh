# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K2.1
# name: kpatch loads a patch, lists it, tells about it, disables and unloads it
# source: kpatch(1): load, list, info, unload
# timeout: 300

. /klp/kselftest.sh
KO=$SELFTESTS/test_modules/test_klp_livepatch.ko
PATCHED="test_klp_livepatch: this has been live patched"

kpatch_says "loading patch module" load $KO
expect_says /proc/cmdline "$PATCHED" "after kpatch load"
kpatch_says '^test_klp_livepatch \[enabled\]$' list
kpatch_says "already loaded and enabled" load $KO
kpatch_says '^name: *test_klp_livepatch$' info $KO
kpatch_says "unloading patch module: test_klp_livepatch" unload $KO
expect_says /proc/cmdline "$KLP_CMDLINE" "after kpatch unload"
[ ! -d /sys/module/test_klp_livepatch ] || fail "kpatch unload left the module"
kpatch_lacks test_klp_livepatch list
