// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Code that an exception interrupted: why its caller is not known.
//!
//! The text is read forward, as far as it goes straight on, for what tells that the return address was in ra:
//!
//! ```text
//!  site:  nop; nop               or `auipc t0; jalr t0`  return address: ra
//!         addi  sp,sp,-n                                 ra
//!         sd    ra,n-8(sp)                               ra
//!         sd    s0,n-16(sp)                              ra
//!         addi  s0,sp,n                                  ra; the record is made, s0 does not point to it yet
//!         …                                              in the record
//!         ld    ra,n-8(sp)
//!         ld    s0,n-16(sp)
//!         addi  sp,sp,n                                  ra
//!         ret                                            ra
//! ```
//!
//! A compiler may move the prologue behind a branch, and a leaf function saves s0 alone: then only the last lines help.

use klp_core::Addr;
use klp_core::unwind::{Machine, Unreliable};

use crate::ftrace::is_jalr_t0;
use crate::{insn, is_compressed};

/// How many instructions are read. Compilers mix the prologue with the function's first few.
const SCAN: usize = 16;

/// An instruction, the high half zero if it is compressed.
fn insn_at(pc: Addr, machine: &impl Machine) -> Option<(u32, u64)> {
    let mut code = [0; 4];
    if !pc.is_multiple_of(2) || !machine.text(pc, &mut code[..2]) {
        return None;
    }
    if is_compressed(u16::from_le_bytes([code[0], code[1]])) {
        return Some((insn(&code, 0)?, 2));
    }
    machine.text(pc, &mut code).then_some((u32::from_le_bytes(code), 4))
}

/// `addi s0,sp,n` and `c.addi4spn s0,sp,n`.
const fn points_to_record(insn: u32, len: u64) -> bool {
    if len == 2 { insn & 0xe01f == 0 && insn != 0 } else { insn & 0xf_ffff == 0x0001_0413 }
}

/// `ret`.
const fn returns(insn: u32, len: u64) -> bool {
    if len == 2 { insn == 0x8082 } else { insn == 0x0000_8067 }
}

/// `ld ra,…(sp)`.
const fn loads_ra(insn: u32, len: u64) -> bool {
    if len == 2 { insn & 0xef83 == 0x6082 } else { insn & 0xf_ffff == 0x0001_3083 }
}

/// Branches, exceptions and system instructions.
const fn branches(insn: u32, len: u64) -> bool {
    if len == 2 {
        insn & 0xe003 == 0xa001 || insn & 0xc003 == 0xc001 || insn & 0xe07f == 0x8002
    } else {
        matches!(insn & 0x7f, 0x63 | 0x67 | 0x6f | 0x73)
    }
}

/// Why the caller of code that was interrupted at `pc` is not known.
pub(super) fn no_caller(pc: Addr, machine: &impl Machine) -> Unreliable {
    let mut at = pc;
    for _ in 0..SCAN {
        match insn_at(at, machine) {
            Some((insn, len))
                if len == 4 && is_jalr_t0(insn) || points_to_record(insn, len) || returns(insn, len) =>
            {
                return Unreliable::CallerInRegister(pc);
            }
            Some((insn, len)) if !loads_ra(insn, len) && !branches(insn, len) => at = at.wrapping_add(len),
            _ => break,
        }
    }
    Unreliable::Exception(pc)
}
