// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! One module per command.

pub(crate) mod build;
pub(crate) mod conform;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod kernel;
pub(crate) mod lint;
pub(crate) mod matrix;
pub(crate) mod new_arch;
pub(crate) mod run;
pub(crate) mod stacks;
pub(crate) mod test;
