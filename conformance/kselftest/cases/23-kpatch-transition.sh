# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K2.4
# name: kpatch lists a patch in transition, and unloads it when the transition was reversed
# source: kpatch(1): list, signal, unload; Documentation/livepatch/livepatch.rst, "Consistency model"
# timeout: 300

. /klp/kselftest.sh
# Asleep in the function that the patch replaces.
insmod $SELFTESTS/test_modules/test_klp_callbacks_busy.ko block_transition=Y || fail "the target was refused"
insmod $SELFTESTS/test_modules/test_klp_callbacks_demo.ko || fail "the patch was refused"
kpatch_says '^test_klp_callbacks_demo \[enabling...\]$' list
kpatch_says "performed automatically" signal
kpatch_says "disabling patch module: test_klp_callbacks_demo" unload test_klp_callbacks_demo
kpatch_lacks test_klp_callbacks_demo list
[ ! -d /sys/module/test_klp_callbacks_demo ] || fail "kpatch unload left the module"
rmmod test_klp_callbacks_busy || fail "the target cannot be unloaded"
