# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.6
# name: sysfs files have their modes and values (test-sysfs.sh)
# source: tools/testing/selftests/livepatch/test-sysfs.sh
# timeout: 600

. /klp/kselftest.sh
kselftest test-sysfs.sh
