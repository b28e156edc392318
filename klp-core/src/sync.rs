// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The atomics of the protocol between callbacks and transitions: the processor's, or the model checker's.

#[cfg(loom)]
mod checked;

#[cfg(loom)]
pub(crate) use checked::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub use checked::{Weakened, weaken};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
