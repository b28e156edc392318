// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks corrupt stacks of ppc64.
#![no_main]

use klp_conformance::host::arch::ppc64::DESCRIPTION;

libfuzzer_sys::fuzz_target!(|input: klp_fuzz::Input| klp_fuzz::run::<klp_arch_ppc64::Ppc64>(
    &DESCRIPTION,
    &input
));
