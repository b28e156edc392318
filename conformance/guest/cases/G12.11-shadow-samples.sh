# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.11
# name: the kernel's own samples for shadow variables, unchanged: what leaked does not leak any more, and is counted
# source: Documentation/livepatch/shadow-vars.rst, "Use cases"; samples/livepatch/livepatch-shadow-mod.c, -fix1.c, -fix2.c
# timeout: 180
says_log() {
    klog | grep -qE "$1"
}
load livepatch-shadow-mod
load livepatch-shadow-fix1
# A dummy lives for 12 s, and is looked for every 3 s.
wait_for 60 says_log "livepatch_fix1_dummy_leak_dtor: dummy @ .*, prevented leak @ [0-9a-f]+" || fail "no leak was prevented"
load livepatch-shadow-fix2
wait_for 60 says_log "livepatch_fix2_dummy_leak_dtor: dummy @ .*, prevented leak @ [0-9a-f]+" || fail "the second patch finds no variable of the first"
wait_for 60 says_log "livepatch_fix2_dummy_free: dummy @ .*, check counter = [1-9]" || fail "nothing was counted"
revert livepatch_shadow_fix2 livepatch_shadow_fix1
unload livepatch_shadow_mod
unload klp
says_log "were left" && fail "a shadow variable is left: $(klog | grep "were left")"
load klp
