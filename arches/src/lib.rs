// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The architectures of this workspace: the one place that names their crates.
//!
//! Whoever needs an architecture's type takes it from here. What is known of one beside its crate is an entry of a table:
//! its names and QEMU's in `klp_host::arch`, what the conformance suites are told in
//! `klp_conformance::arch`. A type that is in one of the lists only fails the case H1.1.
#![no_std]
#![forbid(unsafe_code)]

pub use klp_arch_arm64::Arm64;
pub use klp_arch_ppc64::Ppc64;
pub use klp_arch_riscv64::Riscv64;
pub use klp_arch_s390::S390;
pub use klp_arch_x86_64::X86_64;

cfg_if::cfg_if! {
    // The one place that picks the architecture that `klp.ko` is compiled for.
    if #[cfg(target_arch = "x86_64")] {
        pub use klp_arch_x86_64::X86_64 as Native;
    } else if #[cfg(target_arch = "aarch64")] {
        pub use klp_arch_arm64::Arm64 as Native;
    } else if #[cfg(target_arch = "powerpc64")] {
        pub use klp_arch_ppc64::Ppc64 as Native;
    } else if #[cfg(target_arch = "s390x")] {
        pub use klp_arch_s390::S390 as Native;
    } else if #[cfg(target_arch = "riscv64")] {
        pub use klp_arch_riscv64::Riscv64 as Native;
    }
}
