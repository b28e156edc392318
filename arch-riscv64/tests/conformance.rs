// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host conformance suite on this architecture.

fn main() -> std::process::ExitCode {
    klp_conformance::host::main::<klp_arch_riscv64::Riscv64>(
        &klp_conformance::host::arch::riscv64::DESCRIPTION,
    )
}
