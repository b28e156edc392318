# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.7
# name: a patch in Rust calls functions that are not exported, directly and through slots
# source: design: patches in Rust; docs/src/relocations.md
for far in 0 1; do
    echo $far >/sys/module/klp/parameters/out_of_reach
    load test_reloc_target data=7
    load test_reloc_rust
    expect_says /proc/cmdline "found 1" "patched"
    expect_says /proc/test_reloc_target "value 1007" "patched"
    unload test_reloc_target
    load test_reloc_target data=8
    expect_says /proc/test_reloc_target "value 1008" "the module came back"
    echo 0 >/sys/module/klp/parameters/out_of_reach
    revert test_reloc_rust
    expect_says /proc/test_reloc_target "original 8" "reverted"
    unload test_reloc_target
done
