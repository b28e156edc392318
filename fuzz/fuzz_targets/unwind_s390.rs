// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks corrupt stacks of s390.
#![no_main]

use klp_conformance::host::arch::s390::DESCRIPTION;

libfuzzer_sys::fuzz_target!(|input: klp_fuzz::Input| klp_fuzz::run::<klp_arch_s390::S390>(
    &DESCRIPTION,
    &input
));
