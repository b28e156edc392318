// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Conformance: what an architecture and a kernel must show before live patching them can be trusted.
//!
//! Three suites, each one list of cases for every architecture: [`guest`] runs on real kernels in QEMU, [`host`] checks
//! facts and encodings against independent disassemblers, [`kselftest`] runs the kernel's own livepatch tests.

pub mod guest;
pub mod host;
pub mod image;
pub mod kselftest;
#[cfg(test)]
mod porting;
pub mod report;
pub mod stage;

pub use host::arch;
