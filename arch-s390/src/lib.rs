// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of s390 (64 bit, z10 and later).
//!
//! Sources: *ELF Application Binary Interface s390x Supplement* ("ELF ABI"), *z/Architecture Principles of Operation*
//! ("PoP"), and the kernel files that each item names, read in 6.1 and 6.12.
//!
//! A function that can be traced begins with its patch site, six bytes of `brcl 0,…`; the trampoline resumes behind it.
#![no_std]
#![forbid(unsafe_code)]

mod branch;
mod ftrace;
mod reloc;
mod unwind;

pub use reloc::r_type;

use core::ops::Range;

use klp_core::branch::Code;
use klp_core::patchable::{Patchable, PatchableEntry};
use klp_core::{Architecture, Endian};

/// The s390 architecture.
#[derive(Clone, Copy, Debug)]
pub struct S390;

impl Architecture for S390 {
    const NAME: &'static str = "s390";
    /// `EM_S390` (ELF ABI, "ELF Header").
    const ELF_MACHINE: u16 = 22;
    const ENDIAN: Endian = Endian::Big;
    /// Instructions are 2, 4 or 6 bytes long and start at halfwords (PoP ch. 5, "Instruction Formats").
    const INSN_ALIGN: u64 = 2;
}

/// The room that gcc's `-mhotpatch=before,after` leaves, both counted in halfwords.
///
/// There are no landing pads. The kernel itself is built with `-mhotpatch=0,3` (`arch/s390/Makefile`):
/// [`KERNEL_HOTPATCH`].
pub const fn hotpatch(before: u16, after: u16) -> PatchableEntry {
    PatchableEntry { before: before * 2, after: after * 2, after_offset: 0 }
}

/// The room at functions of the kernel and its modules. It is ftrace's patch site.
pub const KERNEL_HOTPATCH: PatchableEntry = hotpatch(0, 3);

impl Patchable for S390 {
    const NOP_LEN: usize = 2;

    /// `nopr %r0` before a function; at the entry of one whose room there is of three halfwords, or of a multiple, also
    /// `brcl 0,…`. To enter its slot, its displacement is set first, and then its mask, a byte.
    fn nop(code: &[u8]) -> Option<usize> {
        match code {
            [0x07, 0x00, ..] => Some(2),
            [0xc0, 0x04, _, _, _, _, ..] => Some(6),
            _ => None,
        }
    }

    fn landing_pad(_code: &[u8]) -> usize {
        0
    }

    /// The mask of `brcl`, as the kernel switches its own sites (`ftrace_patch_branch_mask` in `arch/s390/kernel/ftrace.c`).
    const FLIP: Range<usize> = 1..2;

    fn idle(branch: &Code) -> Code {
        let mut bytes = [0; 6];
        bytes.copy_from_slice(branch.as_bytes());
        bytes[1] &= 0x0f;
        Code::new(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hotpatch_counts_halfwords() {
        assert_eq!(KERNEL_HOTPATCH, PatchableEntry { before: 0, after: 6, after_offset: 0 });
        let entry = hotpatch(12, 3);
        assert_eq!((entry.slot(0x1018), entry.site(0x1018)), (0x1000, 0x1018));
    }
}
