# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.4
# name: system states are taken over, given back, and refused (test-state.sh)
# source: tools/testing/selftests/livepatch/test-state.sh
# timeout: 600

. /klp/kselftest.sh
kselftest test-state.sh
