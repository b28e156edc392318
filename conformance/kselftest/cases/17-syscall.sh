# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.7
# name: a system call is patched under tasks that do nothing else (test-syscall.sh)
# source: tools/testing/selftests/livepatch/test-syscall.sh
# timeout: 600

. /klp/kselftest.sh
kernel_has sys_getpid test_klp_syscall
kselftest test-syscall.sh
