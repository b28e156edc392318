# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: K1.5
# name: a patch needs ftrace, and ftrace stays on while there is one (test-ftrace.sh)
# source: tools/testing/selftests/livepatch/test-ftrace.sh
# timeout: 600

. /klp/kselftest.sh
kselftest test-ftrace.sh
