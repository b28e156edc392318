# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G3.3
# name: three patches of one function can be reverted in every order
# source: design: the redirect engine, a function stack per patched function
load test_target
for order in '1 2 3' '1 3 2' '2 1 3' '2 3 1' '3 1 2' '3 2 1'; do
    for patch in 1 2 3; do
        load test_value_$patch
        expect_value 10$patch "loaded up to $patch"
    done
    left=' 1 2 3'
    for patch in $order; do
        disable test_value_$patch
        left="${left%% $patch*}${left#* $patch}"
        top=${left##* }
        expect_value $((top ? 100 + top : 1)) "order $order, after $patch"
    done
    gone test_value_1 test_value_2 test_value_3
done
unload test_target
