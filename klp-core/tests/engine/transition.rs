// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Transitions while tasks run: what each consistency model promises, on every history.

mod choices;
mod drive;
mod failures;
mod flaws;
mod judge;
mod load;
mod program;
mod promises;
mod random;
mod small;
mod tasks;
mod transcripts;
