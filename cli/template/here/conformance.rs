// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host conformance suite on this architecture.

use klp_conformance::host::arch::__name__::DESCRIPTION;

fn main() -> std::process::ExitCode {
    klp_conformance::host::main::<klp_arch___name__::__Type__>(&DESCRIPTION)
}
