// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The Rust half of `klp.ko`: the engine of klp-core over the services of the C shim.
//!
//! | file | what it is |
//! |---|---|
//! | `ffi` | the border to the C shim (`shim/shim.h`) |
//! | `alloc` | memory, with fault injection |
//! | `platform` | [`klp_core::Platform`] over the shim |
//! | `callback` | the ftrace callback |
//! | `patch_abi` | `struct klp_patch` read into the engine's model |
//! | `control` | enabling, disabling, transitions, draining: what users ask for |
//! | `modules` | modules that come and go |
//! | `shadow` | shadow variables |
//! | `slot` | functions with a slot of their own, which ftrace does not know |
//! | `stacks` | stack walks in the running kernel |
//! | `states` | system states, as callbacks ask for them |
//! | `sysfs` | a patch's directory |
//! | `tasks` | all tasks: which of them may be switched, which may still run a patch's text |
//! | `text` | where the kernel has entry code and trampolines, if the architecture has them elsewhere |
//! | `universe` | the table of universes, as callbacks find it |
//! | `write_text` | writing a patch module's text and data |
//!
//! A panic is a bug in the engine: it traps at once, and the kernel reports an oops with a back trace.
#![no_std]

mod alloc;
mod callback;
mod control;
mod ffi;
mod modules;
mod patch_abi;
mod platform;
mod shadow;
mod slot;
mod stacks;
mod states;
mod sysfs;
mod tasks;
mod text;
mod universe;
mod write_text;

// This crate is compiled by a manifest that says which package `klp_arches` is: the SDK's own, or the architecture of another
// repository (docs/src/porting.md).
use klp_arches::Native;
use klp_core::Architecture;
use klp_core::stated::{Stage, missing};

// Calls are redirected and drained by the facts of the first two stages of a port: nothing is built on a guess. What later stages
// state is refused where it is asked for.
const _: () = assert!(
    missing(<Native as Architecture>::UNSTATED, Stage::Redirect) == 0,
    "klp.ko cannot be built for this architecture: not all facts are stated that it needs to redirect calls. \
     `cargo klp conform --arch NAME --suite host --case H0` lists them, and where each is found"
);
