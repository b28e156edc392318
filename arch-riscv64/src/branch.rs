// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches and slots (Unprivileged ISA, "Unconditional Jumps", "Control Transfer Instructions" of the C extension).
//!
//! JAL and JALR name the register that gets the return address. x1 (ra) and x5 (t0) are link registers: a call (Unprivileged
//! ISA, "Unconditional Jumps", the table of return-address prediction). Any other leaves the return address alone: a jump.

use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, Reach};
use klp_core::{Addr, Architecture};

use crate::{Riscv64, insn, is_compressed, parcel};

/// Registers by number.
const ZERO: u32 = 0;
const RA: u32 = 1;
const T0: u32 = 5;

/// `jal x0` without its displacement.
const JAL: u32 = 0x6f;

/// A slot without its target:
///
/// ```text
///   0:  auipc  t1, 0
///   4:  ld     t1, 16(t1)
///   8:  jr     t1
///  12:  ebreak
///  16:  .dword target
/// ```
const SLOT_CODE: [u32; 4] = [0x0000_0317, 0x0103_3303, 0x0003_0067, 0x0010_0073];

const _: () = assert!(Riscv64::SLOT_LITERAL.is_multiple_of(8));

const fn check_aligned(addr: Addr) -> Result<(), BranchError> {
    if addr.is_multiple_of(2) { Ok(()) } else { Err(BranchError::Misaligned { addr }) }
}

/// The 21-bit displacement of JAL, in the order in which the instruction holds it ("J-type" immediate).
pub(crate) const fn j_immediate(distance: i64) -> u32 {
    let bits = (distance.cast_unsigned() & 0x1f_ffff) as u32;
    (bits >> 20 & 1) << 31 | (bits >> 1 & 0x3ff) << 21 | (bits >> 11 & 1) << 20 | (bits >> 12 & 0xff) << 12
}

/// The displacement that [`j_immediate`] made.
const fn j_distance(insn: u32) -> i64 {
    let sign = (insn & 1 << 31).cast_signed() >> 11;
    let bits = (insn >> 12 & 0xff) << 12 | (insn >> 20 & 1) << 11 | (insn >> 21 & 0x3ff) << 1;
    (sign | bits.cast_signed()) as i64
}

/// The 12-bit displacement of C.J, in the order in which the instruction holds it ("CJ" format).
pub(crate) const fn cj_immediate(distance: i64) -> u16 {
    let bits = (distance.cast_unsigned() & 0xfff) as u16;
    (bits >> 11 & 1) << 12
        | (bits >> 4 & 1) << 11
        | (bits >> 8 & 3) << 9
        | (bits >> 10 & 1) << 8
        | (bits >> 6 & 1) << 7
        | (bits >> 7 & 1) << 6
        | (bits >> 1 & 7) << 3
        | (bits >> 5 & 1) << 2
}

/// The displacement that [`cj_immediate`] made.
const fn cj_distance(insn: u16) -> i64 {
    let bits = (insn >> 12 & 1) << 11
        | (insn >> 11 & 1) << 4
        | (insn >> 9 & 3) << 8
        | (insn >> 8 & 1) << 10
        | (insn >> 7 & 1) << 6
        | (insn >> 6 & 1) << 7
        | (insn >> 3 & 7) << 1
        | (insn >> 2 & 1) << 5;
    ((bits << 4).cast_signed() >> 4) as i64
}

/// What a jump is that links to register `rd`.
const fn kind(rd: u32) -> BranchKind {
    if matches!(rd, RA | T0) { BranchKind::Call } else { BranchKind::Jump }
}

/// C.J, C.JR and C.JALR.
fn decode_compressed(at: Addr, insn: u16) -> Option<Branch> {
    if insn & 0xe003 == 0xa001 {
        let target = BranchTarget::Direct(at.wrapping_add_signed(cj_distance(insn)));
        return Some(Branch { kind: BranchKind::Jump, target, len: 2 });
    }
    let kind = match (insn & 0xf07f, u32::from(insn >> 7 & 0x1f)) {
        // `ret` and what returns to t0; x0 is reserved.
        (0x8002, ZERO | RA | T0) => return None,
        (0x8002, _) => BranchKind::Jump,
        // x0 is `c.ebreak`.
        (0x9002, 1..) => BranchKind::Call,
        _ => return None,
    };
    Some(Branch { kind, target: BranchTarget::Indirect, len: 2 })
}

impl FarBranch for Riscv64 {
    /// JAL's. What reaches further are two instructions, `auipc; jalr`.
    const REACH: Reach = Reach { min: -0x10_0000, max: 0xf_fffe, align: 2 };
    const BRANCH_LEN: usize = 4;
    const SLOT_LEN: usize = Self::SLOT_LITERAL + size_of::<Addr>();
    const SLOT_LITERAL: usize = 4 * SLOT_CODE.len();

    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        check_aligned(from)?;
        check_aligned(to)?;
        let distance = to.wrapping_sub(from).cast_signed();
        if !Self::REACH.covers(from, to) {
            return Err(BranchError::OutOfReach { distance });
        }
        let link = match kind {
            BranchKind::Jump => ZERO,
            BranchKind::Call => RA,
        };
        Ok(Code::new(&(JAL | link << 7 | j_immediate(distance)).to_le_bytes()))
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        let first = parcel(code, 0)?;
        if is_compressed(first) {
            return decode_compressed(at, first);
        }
        let insn = insn(code, 0)?;
        let (rd, rs1) = (insn >> 7 & 0x1f, insn >> 15 & 0x1f);
        let target = match insn & 0x707f {
            _ if insn & 0x7f == JAL => BranchTarget::Direct(at.wrapping_add_signed(j_distance(insn))),
            // `ret` and what returns to t0.
            0x67 if rd == ZERO && matches!(rs1, RA | T0) => return None,
            0x67 => BranchTarget::Indirect,
            _ => return None,
        };
        Some(Branch { kind: kind(rd), target, len: 4 })
    }

    /// A call has 4 bytes, or 2 (`c.jalr`).
    fn follows_call(return_address: Addr, before: &[u8]) -> bool {
        let ends_in = |len: usize| {
            let start = before.len().checked_sub(len)?;
            Self::decode(return_address.wrapping_sub(len as u64), &before[start..])
        };
        let is_call =
            |len| ends_in(len).is_some_and(|it| it.kind == BranchKind::Call && usize::from(it.len) == len);
        return_address.is_multiple_of(2) && (is_call(4) || is_call(2))
    }

    /// Loads the target into t1, a temporary register that the ABI leaves to stubs: tail calls go through it (psABI, "Code
    /// models"; the kernel's own module PLT, `arch/riscv/include/asm/module.h`, has it too). t0 is the link register of ftrace
    /// sites and of millicode, t2 nested functions' static chain.
    ///
    /// LD of 8 aligned bytes is single-copy atomic (Unprivileged ISA, "RVWMO Memory Consistency Model", "Memory Model
    /// Primitives"). What follows `jr` is never executed; `ebreak`, so that the literal is not what follows.
    ///
    /// The same slot serves calls and jumps: ra is as the branch left it.
    fn slot(_kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError> {
        if !at.is_multiple_of(Self::SLOT_ALIGN) {
            return Err(BranchError::Misaligned { addr: at });
        }
        check_aligned(target)?;
        let code = SLOT_CODE.iter().fold(Code::EMPTY, |code, insn| code.then(&insn.to_le_bytes()));
        Ok(code.then(&target.to_le_bytes()))
    }

    fn slot_target(_at: Addr, code: &[u8]) -> Option<Addr> {
        let (insns, rest) = code.split_at_checked(Self::SLOT_LITERAL)?;
        let same = SLOT_CODE.iter().enumerate().all(|(i, &want)| insn(insns, 4 * i) == Some(want));
        let target = Addr::from_le_bytes(*rest.first_chunk()?);
        // The jump drops the lowest bit.
        (same && target.is_multiple_of(Self::INSN_ALIGN)).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = 0xffff_ffff_8010_0002;

    fn decode(code: &[u8]) -> Option<(BranchKind, BranchTarget)> {
        Riscv64::decode(AT, code).map(|branch| {
            assert_eq!(usize::from(branch.len), code.len());
            (branch.kind, branch.target)
        })
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let reach = Riscv64::REACH;
        for distance in [0, 2, -2, 0x800, 0x1000, 0x1_2346, reach.min, reach.max] {
            let to = AT.wrapping_add_signed(distance);
            for kind in [BranchKind::Jump, BranchKind::Call] {
                let code = Riscv64::encode(kind, AT, to).expect("in reach");
                let branch = Riscv64::decode(AT, code.as_bytes());
                assert_eq!(branch, Some(Branch { kind, target: BranchTarget::Direct(to), len: 4 }));
            }
        }
        let jal = Riscv64::encode(BranchKind::Call, 0x38, 0x8);
        assert_eq!(jal, Ok(Code::new(&0xfd1f_f0ef_u32.to_le_bytes())));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let encode = |to| Riscv64::encode(BranchKind::Call, AT, to);
        assert_eq!(encode(AT + 0x10_0000), Err(BranchError::OutOfReach { distance: 0x10_0000 }));
        assert_eq!(encode(AT - 0x10_0002), Err(BranchError::OutOfReach { distance: -0x10_0002 }));
        assert_eq!(encode(AT + 1), Err(BranchError::Misaligned { addr: AT + 1 }));
        let from = Riscv64::encode(BranchKind::Call, AT + 1, AT);
        assert_eq!(from, Err(BranchError::Misaligned { addr: AT + 1 }));
    }

    #[test]
    fn branches_are_told_from_returns_and_conditions() {
        use BranchKind::{Call, Jump};
        use BranchTarget::{Direct, Indirect};
        assert_eq!(decode(&0x0003_0067_u32.to_le_bytes()), Some((Jump, Indirect)), "jr t1");
        assert_eq!(decode(&0x0007_80e7_u32.to_le_bytes()), Some((Call, Indirect)), "jalr a5");
        assert_eq!(decode(&0x8a42_82e7_u32.to_le_bytes()), Some((Call, Indirect)), "jalr t0,…(t0)");
        assert_eq!(
            decode(&0x0000_036f_u32.to_le_bytes()),
            Some((Jump, Direct(AT))),
            "jal t1: no link register"
        );
        assert_eq!(decode(&0x8302_u16.to_le_bytes()), Some((Jump, Indirect)), "c.jr t1");
        assert_eq!(decode(&0x9782_u16.to_le_bytes()), Some((Call, Indirect)), "c.jalr a5");
        assert_eq!(decode(&0xa001_u16.to_le_bytes()), Some((Jump, Direct(AT))), "c.j .");
        assert_eq!(decode(&0xbfed_u16.to_le_bytes()), Some((Jump, Direct(AT - 6))), "c.j .-6");
        for other in [
            0x0000_8067_u32, // ret
            0x0002_8067,     // jr t0
            0x0000_0317,     // auipc t1,0
            0x0005_0363,     // beqz a0
            0x1020_0073,     // sret
            0x0000_0013,     // nop
        ] {
            assert_eq!(decode(&other.to_le_bytes()), None, "{other:08x}");
        }
        for other in [0x8082_u16, 0x8282, 0x9002, 0x0001, 0xc111, 0x862a, 0] {
            assert_eq!(decode(&other.to_le_bytes()), None, "{other:04x}");
        }
        assert_eq!(Riscv64::decode(AT, &[0xef, 0, 0]), None, "cut short");
        assert_eq!(Riscv64::decode(AT, &[0x01]), None, "cut short");
    }

    #[test]
    fn compressed_jumps_reach_both_ways() {
        for distance in (-0x800..0x800).step_by(2) {
            let code = 0xa001 | cj_immediate(distance);
            let target = BranchTarget::Direct(AT.wrapping_add_signed(distance));
            assert_eq!(decode(&code.to_le_bytes()), Some((BranchKind::Jump, target)), "{distance}");
        }
    }

    #[test]
    fn a_return_address_follows_a_call() {
        let follows = |before: &[u8]| Riscv64::follows_call(AT, before);
        assert!(follows(&0x0000_00ef_u32.to_le_bytes()), "jal");
        assert!(follows(&0x0007_80e7_u32.to_le_bytes()), "jalr");
        assert!(follows(&0x9782_u16.to_le_bytes()), "c.jalr alone");
        assert!(follows(&[0x13, 0, 0, 0, 0x01, 0, 0x82, 0x97]), "c.jalr behind others");
        assert!(!follows(&0x0000_8067_u32.to_le_bytes()), "ret");
        assert!(!follows(&0x0000_006f_u32.to_le_bytes()), "j");
        assert!(!follows(&[0x01, 0, 0x82, 0x80]), "c.jr ra");
        assert!(!follows(&[0xef]) && !follows(&[]));
        assert!(
            !Riscv64::follows_call(AT + 1, &0x0000_00ef_u32.to_le_bytes()),
            "not an instruction's address"
        );
    }

    #[test]
    fn a_slot_reaches_any_address() {
        let (at, target) = (AT + 6, 0xffff_1234_5678_9abc);
        let code = Riscv64::slot(BranchKind::Call, at, target).expect("aligned");
        assert_eq!(code.as_bytes().len(), Riscv64::SLOT_LEN);
        assert_eq!(Riscv64::slot_target(at, code.as_bytes()), Some(target));
        assert_eq!(Riscv64::slot(BranchKind::Jump, at, target), Ok(code));
        assert_eq!((SLOT_CODE[1] >> 20) as usize, Riscv64::SLOT_LITERAL, "ld t1: from auipc");
        for i in 0..Riscv64::SLOT_LITERAL {
            let bytes = code.as_bytes();
            let other = Code::new(&bytes[..i]).then(&[bytes[i] ^ 1]).then(&bytes[i + 1..]);
            assert_eq!(Riscv64::slot_target(at, other.as_bytes()), None, "byte {i}");
        }
        assert_eq!(Riscv64::slot_target(at, &code.as_bytes()[..Riscv64::SLOT_LEN - 1]), None);
        assert_eq!(Riscv64::slot(BranchKind::Call, at, 1), Err(BranchError::Misaligned { addr: 1 }));
        let half = Riscv64::slot(BranchKind::Call, AT, 0);
        assert_eq!(half, Err(BranchError::Misaligned { addr: AT }));
    }
}
