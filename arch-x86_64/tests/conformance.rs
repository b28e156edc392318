// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host conformance suite on this architecture.

fn main() -> std::process::ExitCode {
    klp_conformance::host::main::<klp_arch_x86_64::X86_64>(&klp_conformance::host::arch::x86_64::DESCRIPTION)
}
