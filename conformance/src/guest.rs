// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The guest suite: numbered cases that run inside a real kernel, with real modules, in QEMU.
//!
//! The cases are shell scripts (`guest/cases`) that load test modules (`guest/modules`); they report in KTAP. One guest
//! runs all cases of a kernel. If it dies, the case that was running has failed, and another guest runs the rest.

pub mod cases;
pub mod ktap;
pub(crate) mod modules;
pub(crate) mod run;
mod user;

pub use cases::Case;
pub use modules::build_all;
pub use run::{Options, run};

use std::path::PathBuf;

use klp_host::Arch;

/// The directory with the guest's side of the suite: `cases`, `modules`, `lib.sh`, `run.sh`.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guest")
}

/// The directory with what the guest's side is told of an architecture (`guest/arch/README.md`).
pub(crate) fn arch_dir(arch: &Arch) -> PathBuf {
    match arch.repository {
        Some(root) => PathBuf::from(root).join("guest"),
        None => dir().join("arch").join(arch.srcarch),
    }
}

/// What is in it.
pub(crate) const ARCH_FILES: [&str; 4] = ["facts.sh", "test.h", "test.mk", "syscalls.h"];
