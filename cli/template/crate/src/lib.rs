// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of __name__.
//!
//! `__test__` lists what is not stated yet, in the order in which to state it: what, where in these files,
//! and where the answer is found. `docs/src/porting.md` leads through it.
#![no_std]
#![forbid(unsafe_code)]

mod branch;
mod ftrace;
mod reloc;
mod unwind;

pub use reloc::r_type;

use core::ops::Range;

use klp_core::branch::Code;
use klp_core::patchable::Patchable;
use klp_core::stated::Fact;
use klp_core::{Architecture, Endian};

/// The __name__ architecture.
#[derive(Clone, Copy, Debug)]
pub struct __Type__;
__native__

impl Architecture for __Type__ {
    const NAME: &'static str = "__name__";
    // Fact::ElfMachine
    const ELF_MACHINE: u16 = 0;
    // Fact::ByteOrder
    const ENDIAN: Endian = Endian::Little;
    // Fact::InsnAlign
    const INSN_ALIGN: u64 = 0;

    // Whoever states one strikes it here; the list goes when it is empty.
    const UNSTATED: &'static [Fact] = &[
__facts__
    ];
}

impl Patchable for __Type__ {
    // Fact::Nop
    const NOP_LEN: usize = 1;

    fn nop(_code: &[u8]) -> Option<usize> {
        None
    }

    fn landing_pad(_code: &[u8]) -> usize {
        0
    }

    // Fact::Flip
    const FLIP: Range<usize> = 0..0;

    fn idle(branch: &Code) -> Code {
        *branch
    }
}
