// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of arm64: `-fpatchable-function-entry`, frame records, signed return addresses.
//!
//! | kernel | entry | ftrace site |
//! |---|---|---|
//! | `DYNAMIC_FTRACE_WITH_REGS` | `=2`: two NOPs | + 4 |
//! | `DYNAMIC_FTRACE_WITH_CALL_OPS` | `=4,2`: two NOPs before the symbol, for a pointer to the ops, two at it | + 4 |
//!
//! A landing pad `bti c` comes first where the kernel has them (`ARM64_BTI_KERNEL`): 4 bytes more.
//!
//! References: "Procedure Call Standard for the Arm 64-bit Architecture" (AAPCS64), "ELF for the Arm 64-bit
//! Architecture" (AAELF64), "Arm Architecture Reference Manual for A-profile architecture" (Arm ARM).
#![no_std]
#![forbid(unsafe_code)]

pub mod branch;
pub mod ftrace;
pub mod reloc;
pub mod unwind;

use core::ops::Range;

use klp_core::branch::Code;
use klp_core::patchable::{Patchable, PatchableEntry};
use klp_core::{Addr, Architecture, Endian};

/// The architecture.
#[derive(Clone, Copy, Debug)]
pub struct Arm64;

impl Architecture for Arm64 {
    const NAME: &'static str = "arm64";
    /// `EM_AARCH64` (AAELF64, "ELF Header").
    const ELF_MACHINE: u16 = 183;
    const ENDIAN: Endian = Endian::Little;
    const INSN_ALIGN: u64 = 4;

    /// Does what `XPACI` does (Arm ARM C6.2) for an address of kernel or module text.
    ///
    /// A signature fills the bits above the virtual address, save bit 55, which says which half of the address space
    /// the address is in. Text is in the last 2^48 bytes even of a kernel with 52-bit addresses
    /// (`Documentation/arm64/memory.rst`), so the signature may be taken to start at bit 48 always.
    fn strip_return_address(word: u64) -> Addr {
        const SIGNATURE: u64 = 0xffff << 48;
        if word & 1 << 55 != 0 { word | SIGNATURE } else { word & !SIGNATURE }
    }
}

static_assertions::assert_impl_all!(Arm64: Architecture);

/// Bytes of one NOP, and of a landing pad.
pub const NOP_LEN: u16 = 4;

/// The entry of a function compiled with `-fpatchable-function-entry=n,m`, and with a landing pad if `landing_pad`.
///
/// A slot of the function's own takes 24 bytes before it and a branch at it: `7,6`. The kernel's `4,2` is ftrace's, all of it
/// (`arch/arm64/Makefile`, `CALL_OPS`): the 8 bytes before the function hold the address of the ops.
pub const fn patchable_entry(n: u16, m: u16, landing_pad: bool) -> PatchableEntry {
    PatchableEntry::from_n_m(n, m, NOP_LEN, if landing_pad { NOP_LEN } else { 0 })
}

/// The instruction at byte `offset` of `code`; `None` if it is cut short. Little endian whatever the order of data
/// (Arm ARM B2, "Instruction endianness").
fn insn(code: &[u8], offset: usize) -> Option<u32> {
    let bytes = code.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

impl Patchable for Arm64 {
    const NOP_LEN: usize = 4;

    fn nop(code: &[u8]) -> Option<usize> {
        (insn(code, 0)? == 0xd503_201f).then_some(4)
    }

    /// `bti c` and `bti jc`. `paciasp` is a landing pad too, but gcc puts it behind the room.
    fn landing_pad(code: &[u8]) -> usize {
        if matches!(insn(code, 0), Some(0xd503_245f | 0xd503_24df)) { 4 } else { 0 }
    }

    /// B and NOP are among those that may replace each other under CPUs that execute them (Arm ARM B2.2.5).
    const FLIP: Range<usize> = 0..4;

    fn idle(_branch: &Code) -> Code {
        Code::new(&0xd503_201f_u32.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_stripped() {
        let text = 0xffff_8000_0812_3450;
        assert_eq!(Arm64::strip_return_address(text), text, "not signed");
        assert_eq!(Arm64::strip_return_address(0x3225_8000_0812_3450), 0x0000_8000_0812_3450, "bit 55 clear");
        assert_eq!(Arm64::strip_return_address(0x32e5_8000_0812_3450), text, "bit 55 set");
        assert_eq!(Arm64::strip_return_address(0), 0);
    }

    #[test]
    fn patchable_entries() {
        assert_eq!(patchable_entry(2, 0, false), PatchableEntry { before: 0, after: 8, after_offset: 0 });
        let call_ops = patchable_entry(4, 2, true);
        assert_eq!(call_ops, PatchableEntry { before: 8, after: 8, after_offset: 4 });
        assert_eq!((call_ops.slot(0x1008), call_ops.site(0x1008)), (0x1000, 0x100c));
    }
}
