# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G0.1
# name: an empty module loads, says so, and unloads
# source: docs/src/porting.md, recognise; Documentation/kbuild/modules.rst
# cpus: 1
# core: off
[ ! -d /sys/module/klp ] || fail "klp.ko is loaded: this has to work before there is one"
load test_empty
[ -d /sys/module/test_empty ] || fail "test_empty is not there"
expect_log "test_empty: loaded"
unload test_empty
[ ! -d /sys/module/test_empty ] || fail "test_empty is still there"
expect_log "test_empty: unloaded"
