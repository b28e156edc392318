// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of riscv64: `-fpatchable-function-entry`, compressed instructions, frames that the frame pointer leads through.
//!
//! Pure functions over addresses, bytes and register blocks; docs/src/arch/riscv64.md has the whole of it.
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
use klp_core::{Architecture, Endian};

/// `nop`, that is `addi x0,x0,0`.
const NOP: u32 = 0x0000_0013;

/// The 16 bits of code at byte `offset`, of which instructions are made; `None` if they are cut short. Little endian whatever the
/// order of data (Unprivileged Architecture, "Base Instruction-Length Encoding").
fn parcel(code: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*code.get(offset..)?.first_chunk()?))
}

/// The 32 bits of code at byte `offset`; `None` if they are cut short.
fn insn(code: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*code.get(offset..)?.first_chunk()?))
}

/// The riscv64 architecture.
#[derive(Clone, Copy, Debug)]
pub struct Riscv64;

impl Architecture for Riscv64 {
    const NAME: &'static str = "riscv64";
    /// `EM_RISCV` (psABI, "File Header"; `include/uapi/linux/elf-em.h`).
    const ELF_MACHINE: u16 = 243;
    /// Instructions are little endian always, data wherever Linux runs (psABI, "File Header": `ELFDATA2LSB`).
    const ENDIAN: Endian = Endian::Little;
    /// With compressed instructions, which all kernels of distributions have (`RISCV_ISA_C`; Unprivileged Architecture, "Base
    /// Instruction-Length Encoding").
    const INSN_ALIGN: u64 = 2;
}

impl Patchable for Riscv64 {
    /// Without compressed instructions, as modules with room are compiled: two `c.nop` are no room for a branch, since a CPU may be
    /// between them.
    const NOP_LEN: usize = 4;

    /// `c.nop` and `nop` (Unprivileged Architecture, "NOP Instruction" of RV32I and of the "C" extension).
    fn nop(code: &[u8]) -> Option<usize> {
        if parcel(code, 0)? == 1 { Some(2) } else { (insn(code, 0)? == NOP).then_some(4) }
    }

    /// There is none: stock kernels are not compiled for Zicfilp.
    fn landing_pad(_code: &[u8]) -> usize {
        0
    }

    /// All of `jal` and `nop`, which are aligned to their length. The kernel replaces the one by the other for its own jump labels, by one
    /// store under CPUs that execute them (`arch_jump_label_transform_queue` in `arch/riscv/kernel/jump_label.c`, `patch_insn_write`), and
    /// has all of them fetch anew (`flush_icache_all`). A fetch of four aligned bytes is atomic by the extension Ziccif, which is part of
    /// the profile RVA20 ("RISC-V Profiles", "RVA20U64 Mandatory Base").
    const FLIP: Range<usize> = 0..4;

    fn idle(_branch: &Code) -> Code {
        Code::new(&NOP.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use klp_core::patchable::PatchableEntry;

    use super::*;

    #[test]
    fn nops_of_either_length_are_known_and_those_of_four_bytes_are_room() {
        let (long, short) = (NOP.to_le_bytes(), [1, 0]);
        assert_eq!(Riscv64::nop(&long), Some(4));
        assert_eq!(Riscv64::nop(&short), Some(2));
        for other in [[0x13, 0x05, 0, 0], [0x93, 0, 0, 0], [0x05, 0, 0, 0]] {
            assert_eq!(Riscv64::nop(&other), None, "{other:x?}");
        }
        assert_eq!(Riscv64::nop(&long[..2]), None, "cut short");
        let entry = PatchableEntry::of_code::<Riscv64>(&long.repeat(6), &long);
        assert_eq!(entry, PatchableEntry { before: 24, after: 4, after_offset: 0 });
        let entry = PatchableEntry::of_code::<Riscv64>(&short.repeat(12), &short.repeat(4));
        assert_eq!(
            entry,
            PatchableEntry { before: 0, after: 8, after_offset: 0 },
            "with compressed instructions"
        );
    }
}
