# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.3
# name: shadow variables are attached, found and freed (test-shadow-vars.sh)
# source: tools/testing/selftests/livepatch/test-shadow-vars.sh
# timeout: 600

. /klp/kselftest.sh
kselftest test-shadow-vars.sh
