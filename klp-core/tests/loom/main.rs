// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The protocol between ftrace callbacks and a transition, model-checked: `docs/src/transitions.md` says what is proved.
//!
//! What runs is the engine itself with its atomics replaced by loom's, on a machine whose stops, locks and preemption are
//! modelled ([`machine`]). `RUSTFLAGS="--cfg loom" cargo test -p klp-core --test loom --release`
#![cfg(loom)]

#[expect(dead_code, reason = "shared with the engine's tests")]
#[path = "../sim/arch.rs"]
mod arch;
#[expect(dead_code, reason = "shared with the engine's tests")]
#[path = "../sim/fault.rs"]
mod fault;
#[path = "../sim/list.rs"]
mod list;

mod machine;
mod orderings;
mod promises;
mod scenarios;
mod task;
mod wrong;
