// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks corrupt stacks of arm64.
#![no_main]

use klp_conformance::host::arch::arm64::DESCRIPTION;

libfuzzer_sys::fuzz_target!(|input: klp_fuzz::Input| klp_fuzz::run::<klp_arch_arm64::Arm64>(
    &DESCRIPTION,
    &input
));
