// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The atomics of the protocol between callbacks and transitions: the processor's, or the model checker's.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
