// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The engine against a simulated kernel: whatever is asked of it, in whatever order, and whatever fails.

#[path = "../sim/mod.rs"]
mod sim;

mod call_path;
mod entries;
mod failures;
mod lifecycle;
mod modules;
mod original_callers;
mod random;
mod relocations;
mod stacking;
mod symbols;
mod toy;
mod transition;
