# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.2
# name: callbacks are called when they should be, as modules come and go and transitions stall (test-callbacks.sh)
# source: tools/testing/selftests/livepatch/test-callbacks.sh
# timeout: 600

. /klp/kselftest.sh
kselftest test-callbacks.sh
