// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Failures that the `klp` command answers with an exit status of its own.
//!
//! Every other error is an [`anyhow::Error`] and exits with 1. Attach one of these anywhere in the chain
//! (`anyhow::Error::from(Failure::…)`, `.context(…)` on top is fine): [`exit_status`] finds it.

/// A failure with a contractual exit status (the `klp` command's contract).
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong: exit 2.
    #[error("{0}")]
    Usage(String),
    /// This machine lacks something: exit 3.
    #[error("{what} is missing on this machine\n  to fix it: {fix}")]
    Missing {
        /// What is missing, as a user knows it ("qemu-system-s390x").
        what: String,
        /// The command that provides it.
        fix: String,
    },
    /// The guest did not finish in time: exit 124.
    #[error("the guest did not finish within {0} s")]
    TimedOut(u64),
    /// The guest kernel panicked, oopsed, warned, locked up or was lost: exit 125.
    #[error("the guest kernel is not healthy: {0}")]
    Kernel(String),
    /// A module refused to load: exit 126.
    #[error("{module} refused to load: {reason}")]
    Refused {
        /// The module's file name.
        module: String,
        /// The loader's errno text and the kernel's own lines about it.
        reason: String,
    },
    /// The guest command's own status, passed on.
    #[error("the command exited with status {0}")]
    Command(u8),
}

/// The exit status that `error` maps to.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    match error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) {
        Some(Failure::Usage(_)) => 2,
        Some(Failure::Missing { .. }) => 3,
        Some(Failure::TimedOut(_)) => 124,
        Some(Failure::Kernel(_)) => 125,
        Some(Failure::Refused { .. }) => 126,
        Some(Failure::Command(status)) => *status,
        None => 1,
    }
}
