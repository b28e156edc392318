// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Code that an exception interrupted: why its caller is not known.
//!
//! The text is read forward, as far as it goes straight on, for what tells that the return address was in a register:
//!
//! ```text
//!         nop                      or `mov x9,x30`       return address: x30
//!  site:  nop                      or `bl` trampoline    x30, and x9 if the call is there
//!         paciasp                                        x30
//!         stp  x29,x30,[sp,#-n]!                         x30
//!         mov  x29,sp                                    x30; the record is made, x29 does not point to it yet
//!         …                                              in the record
//!         ldp  x29,x30,[sp],#n
//!         autiasp                                        x30
//!         ret                                            x30
//! ```
//!
//! A compiler may move the prologue behind a branch, and a leaf function has none: then only the last lines help.

use klp_core::Addr;
use klp_core::unwind::{Machine, Unreliable};

use super::insn_at;
use crate::ftrace::{KPROBE, MOV_X9_LR, is_bl};

/// How many instructions are read. Compilers mix the prologue with the function's first few.
const SCAN: u64 = 16;

/// `add x29,sp,#n`, of which `mov x29,sp` is one.
const fn points_to_record(insn: u32) -> bool {
    insn & 0xffc0_03ff == 0x9100_03fd
}

/// `ret`, `retaa`, `retab`: to x30.
const fn returns(insn: u32) -> bool {
    matches!(insn, 0xd65f_03c0 | 0xd65f_0bff | 0xd65f_0fff)
}

/// `ldp` or `ldr` with immediate offset of 64-bit registers, x30 among them.
const fn loads_x30(insn: u32) -> bool {
    let (first, second) = (insn & 31, insn >> 10 & 31);
    let pair = insn & 0xfe40_0000 == 0xa840_0000;
    let single = insn & 0xfec0_0000 == 0xf840_0000;
    pair && (first == 30 || second == 30) || single && first == 30
}

/// Branches and exceptions, not the system instructions that are encoded beside them (Arm ARM C4.1).
const fn branches(insn: u32) -> bool {
    insn >> 26 & 7 == 0b101 && insn >> 24 != 0xd5
}

/// Whether `pc` is the call of a patch site. Its NOP needs no looking at: what follows it tells.
pub(super) fn is_site_call(pc: Addr, machine: &impl Machine) -> bool {
    insn_at(machine, pc).is_some_and(is_bl)
        && insn_at(machine, pc.wrapping_sub(4)).is_some_and(|before| matches!(before, MOV_X9_LR | KPROBE))
}

/// Why the caller of code that was interrupted at `pc` is not known.
pub(super) fn no_caller(pc: Addr, machine: &impl Machine) -> Unreliable {
    let in_register = Unreliable::CallerInRegister(pc);
    if is_site_call(pc, machine) {
        return in_register;
    }
    for i in 0..SCAN {
        match insn_at(machine, pc.wrapping_add(4 * i)) {
            Some(insn) if insn == MOV_X9_LR || points_to_record(insn) || returns(insn) => return in_register,
            Some(insn) if !loads_x30(insn) && !branches(insn) => {}
            _ => break,
        }
    }
    Unreliable::Exception(pc)
}
