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
mod table;

pub use host::arch;

/// Whether a filter names the case with this number: it is that, or the beginning of it up to a dot (`G5` names `G5.1`).
pub(crate) fn is_named(id: &str, filter: &str) -> bool {
    id.strip_prefix(filter).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
