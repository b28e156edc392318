# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K2.5
# name: kpatch waits for a transition to complete
# source: kpatch(1): load; Documentation/livepatch/livepatch.rst, "Consistency model"
# timeout: 300

. /klp/kselftest.sh
# Asleep in the function that the patch replaces, until kpatch waits for it.
: >"$KLP_TMP/kpatch"
insmod $SELFTESTS/test_modules/test_klp_callbacks_busy.ko block_transition=Y || fail "the target was refused"
waits() { grep -q "^waiting" "$KLP_TMP/kpatch"; }
{ wait_for 60 waits && echo N >/sys/module/test_klp_callbacks_busy/parameters/block_transition; } &
kpatch_says "^transition complete" load $SELFTESTS/test_modules/test_klp_callbacks_demo.ko
kpatch_says '^test_klp_callbacks_demo \[enabled\]$' list
kpatch_says "unloading patch module: test_klp_callbacks_demo" unload test_klp_callbacks_demo
[ ! -d /sys/module/test_klp_callbacks_demo ] || fail "kpatch unload left the module"
rmmod test_klp_callbacks_busy || fail "the target cannot be unloaded"
