// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches and veneers (Arm ARM C4.1, "Branches, Exception Generating and System instructions").

use klp_core::Addr;
use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, Reach};

use crate::{Arm64, insn};

/// `b` and `bl` without their 26-bit displacements.
const B: u32 = 0x1400_0000;
const BL: u32 = 0x9400_0000;
const IMM26: u32 = 0x03ff_ffff;

/// Branches to a register: mask, value, kind. The `…a` forms authenticate the target first; their low bits name the
/// register that holds the modifier.
const TO_REGISTER: [(u32, u32, BranchKind); 6] = [
    (0xffff_fc1f, 0xd61f_0000, BranchKind::Jump), // br
    (0xffff_f81f, 0xd61f_081f, BranchKind::Jump), // braaz, brabz
    (0xffff_f800, 0xd71f_0800, BranchKind::Jump), // braa, brab
    (0xffff_fc1f, 0xd63f_0000, BranchKind::Call), // blr
    (0xffff_f81f, 0xd63f_081f, BranchKind::Call), // blraaz, blrabz
    (0xffff_f800, 0xd73f_0800, BranchKind::Call), // blraa, blrab
];

/// `bti c; movz x16,#; movk x16,#,lsl #16; movk x16,#,lsl #32; movk x16,#,lsl #48; br x16`, immediates zero.
const VENEER: [u32; 6] = [0xd503_245f, 0xd280_0010, 0xf2a0_0010, 0xf2c0_0010, 0xf2e0_0010, 0xd61f_0200];

/// Which instructions of [`VENEER`] hold sixteen bits of the target, and which bits.
const VENEER_IMMEDIATES: [(usize, u32); 4] = [(1, 0), (2, 16), (3, 32), (4, 48)];

const fn check_aligned(addr: Addr) -> Result<(), BranchError> {
    if addr.is_multiple_of(4) { Ok(()) } else { Err(BranchError::Misaligned { addr }) }
}

impl FarBranch for Arm64 {
    const REACH: Reach = Reach { min: -0x800_0000, max: 0x7ff_fffc, align: 4 };
    const BRANCH_LEN: usize = 4;
    const VENEER_LEN: usize = 4 * VENEER.len();
    const VENEER_ALIGN: u64 = 4;

    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        check_aligned(from)?;
        check_aligned(to)?;
        let distance = to.wrapping_sub(from);
        if !Self::REACH.covers(from, to) {
            return Err(BranchError::OutOfReach { distance: distance.cast_signed() });
        }
        let opcode = match kind {
            BranchKind::Jump => B,
            BranchKind::Call => BL,
        };
        Ok(Code::new(&(opcode | (distance >> 2 & 0x3ff_ffff) as u32).to_le_bytes()))
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        let insn = insn(code, 0)?;
        if matches!(insn & !IMM26, B | BL) {
            let distance = (insn << 6).cast_signed() >> 4;
            let target = BranchTarget::Direct(at.wrapping_add_signed(distance.into()));
            let kind = if insn & !IMM26 == BL { BranchKind::Call } else { BranchKind::Jump };
            return Some(Branch { kind, target, len: 4 });
        }
        let &(_, _, kind) = TO_REGISTER.iter().find(|(mask, value, _)| insn & mask == *value)?;
        Some(Branch { kind, target: BranchTarget::Indirect, len: 4 })
    }

    fn follows_call(return_address: Addr, before: &[u8]) -> bool {
        let call =
            before.last_chunk::<4>().and_then(|code| Self::decode(return_address.wrapping_sub(4), code));
        return_address.is_multiple_of(4) && call.is_some_and(|branch| branch.kind == BranchKind::Call)
    }

    /// Loads any address into x16, one of the two registers that the ABI leaves to veneers (AAPCS64, "General-purpose
    /// Registers").
    ///
    /// The kernel's own module PLT is `adrp; add; br x16` (`arch/arm64/kernel/module-plts.c`): three instructions, but
    /// the distance is limited to 4 GiB, which a kernel with a randomised module area may exceed, and the code depends
    /// on its own address. Speed is not the question, since both end in the same indirect branch.
    ///
    /// `bti c` lets an indirect branch enter; it is a NOP where there is no branch target identification. `br x16`
    /// itself may go to any landing pad for calls (Arm ARM C6.2, "BTI"), so `target` needs what a function called
    /// through a pointer needs.
    fn veneer(at: Addr, target: Addr) -> Result<Code, BranchError> {
        check_aligned(at)?;
        check_aligned(target)?;
        let mut insns = VENEER;
        for (i, bit) in VENEER_IMMEDIATES {
            insns[i] |= ((target >> bit & 0xffff) as u32) << 5;
        }
        Ok(insns.iter().fold(Code::EMPTY, |code, insn| code.then(&insn.to_le_bytes())))
    }

    fn veneer_target(_at: Addr, code: &[u8]) -> Option<Addr> {
        let mut target = 0;
        let mut insns = VENEER;
        for (i, bit) in VENEER_IMMEDIATES {
            let immediate = insn(code, 4 * i)? >> 5 & 0xffff;
            insns[i] |= immediate << 5;
            target |= u64::from(immediate) << bit;
        }
        let same = insns.iter().enumerate().all(|(i, &want)| insn(code, 4 * i) == Some(want));
        same.then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = 0xffff_8000_0801_0000;

    fn decode(insn: u32) -> Option<(BranchKind, BranchTarget)> {
        Arm64::decode(AT, &insn.to_le_bytes()).map(|branch| {
            assert_eq!(branch.len, 4);
            (branch.kind, branch.target)
        })
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let reach = Arm64::REACH;
        for distance in [0, 4, -4, 0x1234, reach.min, reach.max] {
            let to = AT.wrapping_add_signed(distance);
            for kind in [BranchKind::Jump, BranchKind::Call] {
                let code = Arm64::encode(kind, AT, to).expect("in reach");
                let branch = Arm64::decode(AT, code.as_bytes());
                assert_eq!(branch, Some(Branch { kind, target: BranchTarget::Direct(to), len: 4 }));
            }
        }
        let bl = Arm64::encode(BranchKind::Call, 0x38, 0x8);
        assert_eq!(bl, Ok(Code::new(&0x97ff_fff4_u32.to_le_bytes())));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let encode = |to| Arm64::encode(BranchKind::Call, AT, to);
        assert_eq!(encode(AT + 0x800_0000), Err(BranchError::OutOfReach { distance: 0x800_0000 }));
        assert_eq!(encode(AT - 0x800_0004), Err(BranchError::OutOfReach { distance: -0x800_0004 }));
        assert_eq!(encode(AT + 2), Err(BranchError::Misaligned { addr: AT + 2 }));
        let from = Arm64::encode(BranchKind::Call, AT + 1, AT);
        assert_eq!(from, Err(BranchError::Misaligned { addr: AT + 1 }));
    }

    #[test]
    fn branches_are_told_from_returns_and_conditions() {
        use BranchKind::{Call, Jump};
        use BranchTarget::Indirect;
        assert_eq!(decode(0xd61f_0200), Some((Jump, Indirect)), "br x16");
        assert_eq!(decode(0xd63f_0100), Some((Call, Indirect)), "blr x8");
        assert_eq!(decode(0xd61f_0a1f), Some((Jump, Indirect)), "braaz x16");
        assert_eq!(decode(0xd63f_0d1f), Some((Call, Indirect)), "blrabz x8");
        assert_eq!(decode(0xd71f_0a11), Some((Jump, Indirect)), "braa x16, x17");
        assert_eq!(decode(0xd73f_0d09), Some((Call, Indirect)), "blrab x8, x9");
        for other in [
            0xd65f_03c0_u32, // ret
            0xd65f_0120,     // ret x9
            0xd65f_0bff,     // retaa
            0xd69f_03e0,     // eret
            0x5400_0040,     // b.eq
            0xb400_0040,     // cbz
            0xd503_201f,     // nop
            0,               // udf
        ] {
            assert_eq!(decode(other), None, "{other:08x}");
        }
        assert_eq!(Arm64::decode(AT, &[0, 0, 0]), None, "cut short");
    }

    #[test]
    fn a_return_address_follows_a_call() {
        let follows = |insn: u32| Arm64::follows_call(AT, &insn.to_le_bytes());
        for call in [0x9400_0000, 0x97ff_fff4, 0xd63f_0100, 0xd63f_0d1f, 0xd73f_0d09] {
            assert!(follows(call), "{call:08x}");
        }
        for other in [0x1400_0000, 0xd61f_0200, 0xd65f_03c0, 0xd503_201f, 0xd71f_0a11] {
            assert!(!follows(other), "{other:08x}");
        }
        assert!(!Arm64::follows_call(AT + 2, &0x9400_0000_u32.to_le_bytes()), "not an instruction's address");
        assert!(!Arm64::follows_call(AT, &[0, 0, 0x94]));
    }

    #[test]
    fn a_veneer_reaches_any_address() {
        let target = 0xffff_1234_5678_9abc;
        let code = Arm64::veneer(AT, target).expect("aligned");
        assert_eq!(code.as_bytes().len(), Arm64::VENEER_LEN);
        assert_eq!(Arm64::veneer_target(AT, code.as_bytes()), Some(target));
        let insns = [0xd503_245f, 0xd293_5790, 0xf2aa_cf10, 0xf2c2_4690, 0xf2ff_fff0, 0xd61f_0200];
        let want = insns.iter().fold(Code::EMPTY, |code, insn: &u32| code.then(&insn.to_le_bytes()));
        assert_eq!(code, want);

        let mut other = [0; Arm64::VENEER_LEN];
        other.copy_from_slice(code.as_bytes());
        other[4] ^= 1;
        assert_eq!(Arm64::veneer_target(AT, &other), None, "another register");
        assert_eq!(Arm64::veneer_target(AT, &code.as_bytes()[..20]), None);
        assert_eq!(Arm64::veneer(AT, 2), Err(BranchError::Misaligned { addr: 2 }));
    }
}
