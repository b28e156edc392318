# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K2.2
# name: kpatch installs patches, loads and unloads all of them, and uninstalls them
# source: kpatch(1): install, load --all, unload --all, uninstall
# timeout: 300

. /klp/kselftest.sh
trap 'rm -rf /var/lib/kpatch' EXIT
for patch in test_klp_livepatch test_klp_atomic_replace; do
    # Its status is that of a look for systemctl, which is not there.
    kpatch install $SELFTESTS/test_modules/$patch.ko
    kpatch_says "^$patch ($(uname -r))" list
done
kpatch_says "loading patch module" load --all
kpatch_says '^test_klp_livepatch \[enabled\]$' list
kpatch_says '^test_klp_atomic_replace \[enabled\]$' list
expect_says /proc/meminfo "test_klp_atomic_replace: this has been live patched" "after kpatch load --all"
kpatch_says "unloading patch module: test_klp_atomic_replace" unload --all
kpatch_lacks enabled list
expect_says /proc/cmdline "$KLP_CMDLINE" "after kpatch unload --all"
for patch in test_klp_livepatch test_klp_atomic_replace; do
    kpatch_says "uninstalling" uninstall $patch.ko
done
kpatch_lacks test_klp list
