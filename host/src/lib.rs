// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Host tooling: which kernels there are, how modules are built for them, and how QEMU runs them.

pub mod arch;
pub mod error;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod klog;
pub mod modtree;
pub mod qemu;
pub mod terminal;

pub use arch::{ARCHES, Arch};
pub use error::{Failure, exit_status};
pub use kernel::Kernel;
