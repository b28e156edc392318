// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches and veneers (Power ISA Book I, "Branch Instructions").

use klp_core::Addr;
use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, Reach};

use crate::{Ppc64, insn};

/// Primary opcodes, bits 0:5.
const OP_BC: u32 = 16;
const OP_B: u32 = 18;
const OP_XL: u32 = 19;

/// Extended opcodes of `OP_XL`, bits 21:30.
const XO_BCLR: u32 = 16;
const XO_BCCTR: u32 = 528;
const XO_BCTAR: u32 = 560;

/// `bcl 20,31,$+4` reads the program counter. It is no call: nothing returns to what follows it, and the processor keeps
/// it out of its link stack (same chapter).
const BCL_PC: u32 = 0x429f_0005;

/// Whether LR is set.
const fn links(insn: u32) -> bool {
    insn & 1 != 0
}

/// Whether the BO field says "branch always": 0b1z1zz.
const fn always(insn: u32) -> bool {
    insn >> 21 & 0b10100 == 0b10100
}

const fn is_branch_to_register(insn: u32) -> bool {
    insn >> 26 == OP_XL && insn & 0xe000 == 0 && matches!(insn >> 1 & 0x3ff, XO_BCLR | XO_BCCTR | XO_BCTAR)
}

/// The value of the low `bits` bits of `field`, sign extended, as an address displacement.
const fn displacement(field: u32, bits: u32) -> u64 {
    let field = (field << (32 - bits)).cast_signed() >> (32 - bits);
    (field as i64).cast_unsigned()
}

/// `lis r12; ori r12; sldi r12,r12,32; oris r12; ori r12; mtctr r12; bctr`, immediates zero.
const VENEER: [u32; 7] =
    [0x3d80_0000, 0x618c_0000, 0x798c_07c6, 0x658c_0000, 0x618c_0000, 0x7d89_03a6, 0x4e80_0420];

/// Which instructions of [`VENEER`] hold sixteen bits of the target, and which bits.
const VENEER_IMMEDIATES: [(usize, u32); 4] = [(0, 48), (1, 32), (3, 16), (4, 0)];

const fn check_aligned(addr: Addr) -> Result<(), BranchError> {
    if addr.is_multiple_of(4) { Ok(()) } else { Err(BranchError::Misaligned { addr }) }
}

impl FarBranch for Ppc64 {
    const REACH: Reach = Reach { min: -0x200_0000, max: 0x1ff_fffc, align: 4 };
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
        let link = match kind {
            BranchKind::Jump => 0,
            BranchKind::Call => 1,
        };
        Ok(Code::new(&(OP_B << 26 | (distance & 0x3ff_fffc) as u32 | link).to_le_bytes()))
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        let insn = insn(code, 0)?;
        let base = if insn & 2 == 0 { at } else { 0 };
        let target = match insn >> 26 {
            OP_B => BranchTarget::Direct(base.wrapping_add(displacement(insn & 0x3ff_fffc, 26))),
            OP_BC if always(insn) && insn != BCL_PC => {
                BranchTarget::Direct(base.wrapping_add(displacement(insn & 0xfffc, 16)))
            }
            OP_XL if is_branch_to_register(insn) && always(insn) => {
                if insn >> 1 & 0x3ff == XO_BCLR && !links(insn) {
                    return None;
                }
                BranchTarget::Indirect
            }
            _ => return None,
        };
        let kind = if links(insn) { BranchKind::Call } else { BranchKind::Jump };
        Some(Branch { kind, target, len: 4 })
    }

    /// Conditional calls count. What restores the caller's TOC pointer, `ld r2,24(r1)`, is behind the return address.
    fn follows_call(return_address: Addr, before: &[u8]) -> bool {
        let Some(insn) = before.last_chunk().copied().map(u32::from_le_bytes) else { return false };
        let branches = matches!(insn >> 26, OP_B | OP_BC) || is_branch_to_register(insn);
        return_address.is_multiple_of(4) && branches && links(insn) && insn != BCL_PC
    }

    /// Loads any address into r12, so that `target` may be a global entry point (ELFv2, "Function Prologue"). Only
    /// r12 and CTR change, which the ABI leaves to linkage code (ELFv2, "Register Roles").
    ///
    /// It does not save the TOC pointer. A call into code with another TOC needs `std r2,24(r1)` before and
    /// `ld r2,24(r1)` after it (ELFv2, "Function Calls"): the call site's business.
    fn veneer(at: Addr, target: Addr) -> Result<Code, BranchError> {
        check_aligned(at)?;
        check_aligned(target)?;
        let mut insns = VENEER;
        for (i, bit) in VENEER_IMMEDIATES {
            insns[i] |= (target >> bit & 0xffff) as u32;
        }
        Ok(insns.iter().fold(Code::EMPTY, |code, insn| code.then(&insn.to_le_bytes())))
    }

    fn veneer_target(_at: Addr, code: &[u8]) -> Option<Addr> {
        let mut target = 0;
        let mut insns = VENEER;
        for (i, bit) in VENEER_IMMEDIATES {
            let immediate = insn(code, 4 * i)? & 0xffff;
            insns[i] |= immediate;
            target |= u64::from(immediate) << bit;
        }
        let same = insns.iter().enumerate().all(|(i, &want)| insn(code, 4 * i) == Some(want));
        same.then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = 0xc000_0000_0001_0000;

    fn decode(insn: u32) -> Option<(BranchKind, BranchTarget)> {
        Ppc64::decode(AT, &insn.to_le_bytes()).map(|branch| {
            assert_eq!(branch.len, 4);
            (branch.kind, branch.target)
        })
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let reach = Ppc64::REACH;
        for distance in [0, 4, -4, 0x1234, reach.min, reach.max] {
            let to = AT.wrapping_add_signed(distance);
            for kind in [BranchKind::Jump, BranchKind::Call] {
                let code = Ppc64::encode(kind, AT, to).expect("in reach");
                let branch = Ppc64::decode(AT, code.as_bytes());
                assert_eq!(branch, Some(Branch { kind, target: BranchTarget::Direct(to), len: 4 }));
            }
        }
        let bl = Ppc64::encode(BranchKind::Call, 0xc000_0000_0025_46ec, 0xc000_0000_0006_ca9c);
        assert_eq!(bl, Ok(Code::new(&[0xb1, 0x83, 0xe1, 0x4b])));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let encode = |to| Ppc64::encode(BranchKind::Jump, AT, to);
        assert_eq!(encode(AT + 0x200_0000), Err(BranchError::OutOfReach { distance: 0x200_0000 }));
        assert_eq!(encode(AT - 0x200_0004), Err(BranchError::OutOfReach { distance: -0x200_0004 }));
        assert_eq!(encode(AT + 2), Err(BranchError::Misaligned { addr: AT + 2 }));
        let from = Ppc64::encode(BranchKind::Jump, AT + 1, AT);
        assert_eq!(from, Err(BranchError::Misaligned { addr: AT + 1 }));
    }

    #[test]
    fn branches_are_told_from_returns_and_conditions() {
        use BranchKind::{Call, Jump};
        use BranchTarget::{Direct, Indirect};
        assert_eq!(decode(0x4e80_0420), Some((Jump, Indirect)), "bctr");
        assert_eq!(decode(0x4e80_0421), Some((Call, Indirect)), "bctrl");
        assert_eq!(decode(0x4e80_0021), Some((Call, Indirect)), "blrl");
        assert_eq!(decode(0x4e80_0461), Some((Call, Indirect)), "bctarl");
        assert_eq!(decode(0x4800_0103), Some((Call, Direct(0x100))), "bla 0x100");
        assert_eq!(decode(0x4280_0008), Some((Jump, Direct(AT + 8))), "bc 20,0,$+8");
        assert_eq!(decode(0x4e80_0020), None, "blr");
        assert_eq!(decode(0x4d82_0020), None, "beqlr");
        assert_eq!(decode(0x4d82_0420), None, "beqctr");
        assert_eq!(decode(0x4182_0010), None, "beq $+16");
        assert_eq!(decode(BCL_PC), None);
        assert_eq!(decode(0x6000_0000), None, "nop");
        assert_eq!(Ppc64::decode(AT, &[0x20, 0x04, 0x80]), None, "cut short");
    }

    #[test]
    fn a_return_address_follows_a_call() {
        let follows = |insn: u32| Ppc64::follows_call(AT, &insn.to_le_bytes());
        for call in [0x4be1_83b1, 0x4800_0103, 0x4e80_0421, 0x4e80_0021, 0x4182_0011, 0x4d82_0421] {
            assert!(follows(call), "{call:08x}");
        }
        for other in [0x4be1_83b0, 0x4e80_0420, 0x4e80_0020, BCL_PC, 0x6000_0000, 0xe841_0018, 0x3860_0001] {
            assert!(!follows(other), "{other:08x}");
        }
        assert!(!Ppc64::follows_call(AT + 2, &0x4be1_83b1_u32.to_le_bytes()), "not an instruction's address");
        assert!(!Ppc64::follows_call(AT, &[0x21, 0x04, 0x80]));
    }

    #[test]
    fn a_veneer_reaches_any_address() {
        let target = 0xc008_1234_5678_9abc;
        let code = Ppc64::veneer(AT, target).expect("aligned");
        assert_eq!(code.as_bytes().len(), Ppc64::VENEER_LEN);
        assert_eq!(Ppc64::veneer_target(AT, code.as_bytes()), Some(target));
        let insns =
            [0x3d80_c008, 0x618c_1234, 0x798c_07c6, 0x658c_5678, 0x618c_9abc, 0x7d89_03a6, 0x4e80_0420];
        let want = insns.iter().fold(Code::EMPTY, |code, insn: &u32| code.then(&insn.to_le_bytes()));
        assert_eq!(code, want);

        let mut other = [0; Ppc64::VENEER_LEN];
        other.copy_from_slice(code.as_bytes());
        other[20] ^= 1;
        assert_eq!(Ppc64::veneer_target(AT, &other), None);
        assert_eq!(Ppc64::veneer_target(AT, &code.as_bytes()[..24]), None);
        assert_eq!(Ppc64::veneer(AT, 2), Err(BranchError::Misaligned { addr: 2 }));
    }
}
