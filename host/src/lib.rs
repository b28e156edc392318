// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Host tooling: which kernels there are, how modules are built for them, and how QEMU runs them.

pub mod apt;
pub mod arch;
pub mod cache;
pub mod doctor;
pub mod dump;
pub mod error;
pub mod facts;
pub mod guest;
pub mod initramfs;
pub mod kbuild;
pub mod kernel;
pub mod klog;
pub mod ksource;
pub mod lint;
mod machine;
pub mod modtree;
pub mod patchable;
pub mod process;
pub mod progress;
pub mod qemu;
mod qmp;
pub mod run;
pub mod rustsrc;
pub mod terminal;
pub mod userland;
pub mod version;

pub use arch::{Arch, arches};
pub use cache::Cache;
pub use error::{Failure, exit_status};
pub use facts::Facts;
pub use kernel::Kernel;
pub use progress::Progress;
