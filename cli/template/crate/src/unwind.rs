// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of __name__ kernels.

#[cfg(test)]
mod tests;

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind};

use crate::__Type__;

impl Unwind for __Type__ {
    // Fact::FrameAlign
    const FRAME_ALIGN: u64 = 0;

    // Fact::WayOut
    const WAY_OUT: &'static [&'static str] = &[];

    // Fact::SwitchedOut
    /// Unreliable, of every task.
    fn switched_out(saved: &Saved, _machine: &impl Machine) -> Result<Cursor, Unreliable> {
        Err(Unreliable::NoUnwindInfo(saved.pc))
    }

    // Fact::Step
    /// Unreliable, from every frame.
    fn step(cursor: &Cursor, _bottom: Addr, _machine: &impl Machine) -> Result<Step, Unreliable> {
        Err(Unreliable::NoUnwindInfo(cursor.pc))
    }
}
