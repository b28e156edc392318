// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of riscv64: `-fpatchable-function-entry`, compressed instructions, frame records below the frame
//! pointer.
//!
//! | kernel | entry | ftrace site |
//! |---|---|---|
//! | `RISCV_ISA_C` | `=4`: four NOPs of 2 bytes | + 0, 8 bytes |
//! | without | `=2`: two NOPs of 4 bytes | + 0, 8 bytes |
//!
//! References: "RISC-V ABIs Specification" (psABI for short), "The RISC-V Instruction Set Manual, Volume I: Unprivileged
//! Architecture" (Unprivileged ISA). Both are cited by the titles of their sections, whose numbers differ between
//! editions.
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
pub struct Riscv64;

impl Architecture for Riscv64 {
    const NAME: &'static str = "riscv64";
    /// `EM_RISCV` (psABI, "File Header").
    const ELF_MACHINE: u16 = 243;
    const ENDIAN: Endian = Endian::Little;
    /// With compressed instructions, which all distributions' kernels have.
    const INSN_ALIGN: u64 = 2;
}

static_assertions::assert_impl_all!(Riscv64: Architecture);

/// `c.nop`.
const C_NOP: u16 = 0x0001;
/// `nop`, that is `addi x0,x0,0`.
const NOP: u32 = 0x0000_0013;

/// The 2 bytes of code at byte `offset` of `code`; `None` if they are cut short. Little endian whatever the order of data
/// (Unprivileged ISA, "Base Instruction-Length Encoding").
fn parcel(code: &[u8], offset: usize) -> Option<u16> {
    let bytes = code.get(offset..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

/// The 4-byte instruction at byte `offset` of `code`; `None` if it is cut short. What is there may be compressed
/// instructions, which no 4-byte one looks like: see [`is_compressed`].
fn insn(code: &[u8], offset: usize) -> Option<u32> {
    let bytes = code.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Whether the instruction that starts with these 2 bytes has no more (Unprivileged ISA, "Base Instruction-Length
/// Encoding").
const fn is_compressed(parcel: u16) -> bool {
    parcel & 3 != 3
}

/// Room at a function's entry is several NOPs of 2 bytes, where one branch needs 4: no room is [one
/// NOP](klp_core::patchable::Room::one_nop). Nor need the entry be aligned to 4, as a store of 4 bytes has to be that is
/// fetched whole (`Ziccif`, Unprivileged ISA).
impl Patchable for Riscv64 {
    const NOP_LEN: usize = 2;

    /// gcc makes room of `nop`, which the assembler compresses where it may.
    fn nop(code: &[u8]) -> Option<usize> {
        if parcel(code, 0)? == C_NOP {
            return Some(2);
        }
        (insn(code, 0)? == NOP).then_some(4)
    }

    /// `lpad` of `Zicfilp` is in no kernel yet.
    fn landing_pad(_code: &[u8]) -> usize {
        0
    }

    const FLIP: Range<usize> = 0..4;

    fn idle(_branch: &Code) -> Code {
        Code::new(&NOP.to_le_bytes())
    }
}
