// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host conformance suite on this architecture.

fn main() -> std::process::ExitCode {
    klp_conformance::host::main::<klp_arch_s390::S390>(&klp_conformance::host::arch::s390::DESCRIPTION)
}
