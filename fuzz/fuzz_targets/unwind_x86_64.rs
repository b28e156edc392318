// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks corrupt stacks of x86_64.
#![no_main]

use klp_conformance::host::arch::x86_64::DESCRIPTION;

libfuzzer_sys::fuzz_target!(|input: klp_fuzz::Input| klp_fuzz::run::<klp_arch_x86_64::X86_64>(
    &DESCRIPTION,
    &input
));
