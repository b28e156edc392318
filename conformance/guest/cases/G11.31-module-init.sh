# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.31
# name: a module whose init function has not returned is part of a transition: what it is in holds the patch up
# source: Documentation/livepatch/livepatch.rst, 5.2 Enabling; kernel/livepatch/core.c, klp_find_object_module
. "${KLP_LIB%/*}/transitions.sh"
go=/sys/module/test_target/parameters/init_goes
insmod "$KLP_MODULES/test_target.ko" init_waits=1 &
loader=$!
waits() { grep -q test_init_wait /proc/$loader/stack; }
wait_for 5 waits || fail "the init function does not wait: $(cat /proc/$loader/stack)"
load test_passthrough object=test_target symbol=test_init_wait
expect_blocked test_passthrough $loader insmod "test_init_wait [test_target]"
expect_says $KLP_SYS/test_passthrough/test_target/patched 1 "while its init function runs"
echo 1 >$go
wait $loader || fail "the module did not load"
settle test_passthrough
unload test_target
expect_says $KLP_SYS/test_passthrough/test_target/patched 0 "gone"
remove test_passthrough
