// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The stack walker, on an architecture that exists nowhere: what it owns, and that it passes on what it does not.
//!
//! What real architectures do with it is in the host conformance suite, group H8.

#[expect(dead_code, reason = "only its stacks are walked here")]
#[path = "../sim/arch.rs"]
mod arch;

mod bounds;
mod ends;
mod machine;
mod memory;
mod reasons;
mod stack;
mod start;
mod text;
mod trampolines;
