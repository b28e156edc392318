// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The architectures of this workspace: the one place that names their crates.
//!
//! Whoever needs an architecture's type takes it from here. What is known of one beside its crate is an entry of a table:
//! its names and QEMU's in `klp_host::ARCHES`, what the conformance suites are told in
//! `klp_conformance::arch::ARCHITECTURES`. A type that is in one of the lists only fails the case H1.1.
#![no_std]
#![forbid(unsafe_code)]

pub use klp_arch_arm64::Arm64;
pub use klp_arch_ppc64::Ppc64;
pub use klp_arch_riscv64::Riscv64;
pub use klp_arch_s390::S390;
pub use klp_arch_x86_64::X86_64;
