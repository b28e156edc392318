# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.1
# name: functions are patched, by several patches, and by one that replaces them all (test-livepatch.sh)
# source: tools/testing/selftests/livepatch/test-livepatch.sh
# timeout: 600

. /klp/kselftest.sh
kernel_has sys_getpid test_klp_syscall
kselftest test-livepatch.sh
