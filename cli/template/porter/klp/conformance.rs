// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host conformance suite on this architecture.

fn main() -> std::process::ExitCode {
    klp_conformance::host::main::<klp_arch___name__::__Type__>(&klp___name__::description::DESCRIPTION)
}
