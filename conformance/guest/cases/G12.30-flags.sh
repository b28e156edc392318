# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.30
# name: each consistency model that the flags name is accepted and takes effect; any other value is refused
# source: design: the engine; include/linux/livepatch.h, klp_patch.flags
# timeout: 400

load test_target
for flags in 0 1 2 4 6; do
    load test_api_1 flags=$flags
    wait_for 40 settled test_api_1 || fail "flags=$flags: still in transition after 40 s: $(cat $KLP_SYS/test_api_1/blocked)"
    expect_value 301 "with flags=$flags"
    disable test_api_1
    wait_for 40 is_gone test_api_1 || fail "flags=$flags: still there after 40 s: $(cat $KLP_SYS/test_api_1/blocked)"
    gone test_api_1
    expect_value 1 "after flags=$flags"
done
callbacks() { klog | grep -c "test_api_1: [a-z_]*patch "; }
before=$(callbacks)
[ "$before" -gt 0 ] || fail "no callback of the patches that were accepted is in the log"
for flags in 3 5 7; do
    refuse "Invalid argument" test_api_1 flags=$flags
    expect_log "klp_patch.flags is 0x$flags, which names two consistency models"
    expect_untouched
done
for flags in 8 0x10 0x80000001 0xffffffff; do
    refuse "Invalid argument" test_api_1 flags=$flags
    expect_log "klp_patch.flags is 0x${flags#0x}, which has bits that this klp.ko does not know"
    expect_untouched
done
expect "$(callbacks)" "$before" "callbacks, those of refused patches included"
unload test_target
