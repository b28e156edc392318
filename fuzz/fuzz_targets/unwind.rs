// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks corrupt stacks of the architecture that `KLP_ARCH` names.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: klp_fuzz::Input| klp_fuzz::run(&input));
