# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.4
# name: calls out of reach go through slots, which are free again when the module goes
# source: design: far branches; docs/src/slots.md
echo 1 >/sys/module/klp/parameters/out_of_reach
load test_reloc_target data=7
load test_reloc_1
echo 0 >/sys/module/klp/parameters/out_of_reach
expect_says /proc/cmdline "found by slot" "patched"
expect_says /proc/test_reloc_target "108 by slot" "patched"
unload test_reloc_target
echo 1 >/sys/module/klp/parameters/out_of_reach
for data in 1 2 3; do
    load test_reloc_target data=$data
    expect_says /proc/test_reloc_target "$((101 + data)) by slot" "the module came back"
    expect_says /proc/cmdline "found by slot" "the module came back"
    unload test_reloc_target
done
echo 0 >/sys/module/klp/parameters/out_of_reach
revert test_reloc_1
