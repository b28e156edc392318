// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The live-patching engine, and the traits an architecture implements to use it.
//!
//! An architecture is a unit type that implements three capabilities:
//!
//! | capability | trait | file in every `arch-*` crate |
//! |---|---|---|
//! | rewriting the return address in the ftrace trampoline | [`FtraceRedirect`] | `ftrace.rs` |
//! | branches, slots and relocations of patch modules | [`FarBranch`], [`Relocate`] | `branch.rs`, `reloc.rs` |
//! | reliable stack walking | [`Unwind`] | `unwind.rs` |
//!
//! [`Architecture`] names them together. An implementation is facts and pure functions over bytes, words and
//! addresses: it never dereferences anything, so each one compiles and is tested on every host.
//!
//! The [`engine`] holds the policy. It knows no architecture, and asks the running kernel for services through one
//! trait, [`Platform`]. The kernel module implements it over the kernel; tests implement it over arrays.
#![no_std]
#![forbid(unsafe_code)]

pub mod arch;
pub mod branch;
pub mod engine;
pub mod error;
pub mod ftrace;
pub mod patch;
pub mod patch_relocs;
pub mod patchable;
pub mod platform;
pub mod redirect;
pub mod reloc;
pub mod return_stack;
pub mod slots;
pub mod stated;
#[cfg(not(loom))]
mod sync;
#[cfg(loom)]
pub mod sync;
pub mod system_state;
pub mod universe;
pub mod unwind;

pub use arch::{Addr, Architecture, Endian};
pub use branch::FarBranch;
pub use engine::Engine;
pub use error::Error;
pub use ftrace::FtraceRedirect;
pub use patchable::Patchable;
pub use platform::Platform;
pub use reloc::Relocate;
pub use unwind::Unwind;
