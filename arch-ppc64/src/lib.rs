// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of ppc64: little endian, the ELFv2 ABI, `-mprofile-kernel`.
//!
//! | function | global entry | ftrace site |
//! |---|---|---|
//! | uses the TOC | `addis r2,r12,…; addi r2,r2,…` | + 12, behind `mflr r0` |
//! | does not | none: global and local entry are one | + 4, behind `mflr r0` |
//!
//! Compilers before `-mprofile-kernel`'s present form put `std r0,16(r1)` between `mflr r0` and the site: 4 bytes more.
//!
//! References: "64-Bit ELF V2 ABI Specification" (ELFv2 for short), "Power ISA" version 3.0 B, Book I.
//! Both are cited by the titles of their sections, whose numbers differ between editions.
#![no_std]
#![forbid(unsafe_code)]

pub mod branch;
pub mod ftrace;
pub mod reloc;
pub mod unwind;

use core::ops::Range;

use klp_core::branch::Code;
use klp_core::{Architecture, Endian, Patchable};

/// The architecture.
#[derive(Clone, Copy, Debug)]
pub struct Ppc64;

impl Architecture for Ppc64 {
    const NAME: &'static str = "ppc64";
    /// `EM_PPC64` (ELFv2, "ELF Header").
    const ELF_MACHINE: u16 = 21;
    const ENDIAN: Endian = Endian::Little;
    const INSN_ALIGN: u64 = 4;
}

static_assertions::assert_impl_all!(Ppc64: Architecture);

/// The instruction at byte `offset` of `code`; `None` if it is cut short.
fn insn(code: &[u8], offset: usize) -> Option<u32> {
    let bytes = code.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Room before a function only. gcc 12 puts the room at the entry in front of the global entry's `addis r2,r12,…`, which
/// then computes the TOC pointer from an address that is not the function's: too low by the room (gcc bug 99888, mended in
/// 13). So a function compiled with such room is broken, and there is no site at an entry.
impl Patchable for Ppc64 {
    const NOP_LEN: usize = 4;

    fn nop(code: &[u8]) -> Option<usize> {
        (insn(code, 0)? == 0x6000_0000).then_some(4)
    }

    fn landing_pad(_code: &[u8]) -> usize {
        0
    }

    /// One word, which is stored as one (Power ISA Book II, "Instruction Storage").
    const FLIP: Range<usize> = 0..4;

    fn idle(_branch: &Code) -> Code {
        Code::new(&0x6000_0000_u32.to_le_bytes())
    }
}
