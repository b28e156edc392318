// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches and slots (Arm ARM C4.1, "Branches, Exception Generating and System instructions").

use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, Reach};
use klp_core::{Addr, Architecture};

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

/// A slot without its target:
///
/// ```text
///   0:  bti   c
///   4:  ldr   x16, 16
///   8:  br    x16
///  12:  udf   #0
///  16:  .xword target
/// ```
const SLOT_CODE: [u32; 4] = [0xd503_245f, 0x5800_0070, 0xd61f_0200, 0];

const _: () = assert!(Arm64::SLOT_LITERAL.is_multiple_of(8));

const fn check_aligned(addr: Addr) -> Result<(), BranchError> {
    if addr.is_multiple_of(4) { Ok(()) } else { Err(BranchError::Misaligned { addr }) }
}

impl FarBranch for Arm64 {
    const REACH: Reach = Reach { min: -0x800_0000, max: 0x7ff_fffc, align: 4 };
    const BRANCH_LEN: usize = 4;
    const SLOT_LEN: usize = Self::SLOT_LITERAL + size_of::<Addr>();
    const SLOT_LITERAL: usize = 4 * SLOT_CODE.len();

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

    /// Loads the target into x16, one of the two registers that the ABI leaves to veneers, which is its name for slots (AAPCS64 §6.1.1).
    ///
    /// The kernel's own module PLT is `adrp; add; br x16` (`arch/arm64/kernel/module-plts.c`). That reaches 4 GiB, depends
    /// on its own address, and cannot be updated under CPUs that execute it: two instructions hold the target, and Arm
    /// ARM B2.2.5, "Concurrent modification and execution of instructions", allows to replace neither. A literal is data.
    /// LDR (literal) of 8 aligned bytes is single-copy atomic (Arm ARM B2.2.1), whatever is in the caches of
    /// instructions.
    ///
    /// `bti c` lets an indirect branch enter; it is a NOP where there is no branch target identification. `br x16` itself
    /// may go to any landing pad for calls, `paciasp` among them (Arm ARM C6.2, "BTI"), so `target` needs what a
    /// function called through a pointer needs. What follows `br` is never executed; `udf`, so that the literal is not
    /// what follows.
    ///
    /// The same slot serves calls and jumps: x30 is as the branch left it.
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
        (same && target.is_multiple_of(Self::INSN_ALIGN)).then_some(target)
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
    fn a_slot_reaches_any_address() {
        let target = 0xffff_1234_5678_9abc;
        let code = Arm64::slot(BranchKind::Call, AT, target).expect("aligned");
        assert_eq!(code.as_bytes().len(), Arm64::SLOT_LEN);
        assert_eq!(Arm64::slot_target(AT, code.as_bytes()), Some(target));
        assert_eq!(Arm64::slot(BranchKind::Jump, AT, target), Ok(code));
        // ldr x16: the literal's distance in words.
        assert_eq!(4 + 4 * (SLOT_CODE[1] >> 5 & 0x7_ffff) as usize, Arm64::SLOT_LITERAL);
        for i in 0..Arm64::SLOT_LITERAL {
            let bytes = code.as_bytes();
            let other = Code::new(&bytes[..i]).then(&[bytes[i] ^ 1]).then(&bytes[i + 1..]);
            assert_eq!(Arm64::slot_target(AT, other.as_bytes()), None, "byte {i}");
        }
        assert_eq!(Arm64::slot_target(AT, &code.as_bytes()[..Arm64::SLOT_LEN - 1]), None);
        assert_eq!(Arm64::slot(BranchKind::Call, AT, 2), Err(BranchError::Misaligned { addr: 2 }));
        let half = Arm64::slot(BranchKind::Call, AT + 4, 0);
        assert_eq!(half, Err(BranchError::Misaligned { addr: AT + 4 }));
    }
}
