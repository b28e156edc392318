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

/// The directory with the guest's side of the suite: `cases`, `modules`, `lib.sh`, `run.sh`.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guest")
}
