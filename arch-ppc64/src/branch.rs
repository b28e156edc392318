// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches and slots (Power ISA Book I, "Branch Instructions").

use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, MAX_CODE, Reach};
use klp_core::{Addr, Architecture};

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

/// A slot without the address of its literal and the target:
///
/// ```text
///   0:  std   r2,24(r1)       in a slot for jumps: nop
///   4:  lis   r12,literal@highesta
///   8:  ori   r12,r12,literal@highera
///  12:  sldi  r12,r12,32
///  16:  oris  r12,r12,literal@ha
///  20:  ld    r12,literal@l(r12)
///  24:  mtctr r12
///  28:  bctr
///  32:  .quad target
/// ```
const SLOT_CODE: [u32; 8] =
    [0xf841_0018, 0x3d80_0000, 0x618c_0000, 0x798c_07c6, 0x658c_0000, 0xe98c_0000, 0x7d89_03a6, 0x4e80_0420];

const NOP: u32 = 0x6000_0000;

/// Which instructions of [`SLOT_CODE`] hold sixteen bits of the address that [`SLOT_CODE`]'s load counts from.
const SLOT_IMMEDIATES: [(usize, u32); 3] = [(1, 48), (2, 32), (4, 16)];

/// The instruction that holds the low sixteen bits, sign extended when they are added.
const SLOT_LOAD: usize = 5;

const _: () = assert!(Ppc64::SLOT_LEN <= MAX_CODE);

/// The instructions of a slot at `at`.
fn slot_code(kind: BranchKind, at: Addr) -> Code {
    let literal = at.wrapping_add(Ppc64::SLOT_LITERAL as u64);
    let low = literal & 0xffff;
    let base = literal.wrapping_sub(displacement(low as u32, 16));
    let mut insns = SLOT_CODE;
    if kind == BranchKind::Jump {
        insns[0] = NOP;
    }
    for (i, bit) in SLOT_IMMEDIATES {
        insns[i] |= (base >> bit & 0xffff) as u32;
    }
    insns[SLOT_LOAD] |= low as u32;
    insns.iter().fold(Code::EMPTY, |code, insn| code.then(&insn.to_le_bytes()))
}

const fn check_aligned(addr: Addr) -> Result<(), BranchError> {
    if addr.is_multiple_of(4) { Ok(()) } else { Err(BranchError::Misaligned { addr }) }
}

impl FarBranch for Ppc64 {
    const REACH: Reach = Reach { min: -0x200_0000, max: 0x1ff_fffc, align: 4 };
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

    /// Loads the target into r12, where a global entry point expects it (ELFv2, "Function Prologue"), and branches there
    /// through CTR. The ABI leaves both to linkage code (ELFv2, "Register Roles"), and r2 is derived from r12 by the
    /// callee: so the slot of one object calls the functions of any other, and needs no TOC of its own.
    ///
    /// A slot for calls saves the caller's r2 in the doubleword of its frame that is for this (ELFv2, "The Stack Frame"),
    /// as a linker's stub does; the instruction behind the call, for which compilers leave a `nop`, has to put it back
    /// ([`Relocate::relocate_to_slot`](klp_core::Relocate::relocate_to_slot)). A jump has no instruction behind
    /// it, and its caller's caller may have its own r2 in that doubleword: a slot for jumps does not write it, and may lead
    /// only to code that leaves r2 as it finds it, or restores it.
    ///
    /// The literal's address is in the code, since no load of this instruction set counts from the program counter
    /// before Power ISA 3.1, and to read it (`bcl 20,31`) costs LR, which a tail call must keep. The literal is read by one
    /// aligned `ld`, which is single-copy atomic (Power ISA Book II, "Single-Copy Atomicity").
    fn slot(kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError> {
        if !at.is_multiple_of(Self::SLOT_ALIGN) {
            return Err(BranchError::Misaligned { addr: at });
        }
        check_aligned(target)?;
        Ok(slot_code(kind, at).then(&target.to_le_bytes()))
    }

    fn slot_target(at: Addr, code: &[u8]) -> Option<Addr> {
        let (insns, rest) = code.split_at_checked(Self::SLOT_LITERAL)?;
        let is_slot = |kind| at.is_multiple_of(Self::SLOT_ALIGN) && insns == slot_code(kind, at).as_bytes();
        let target = Addr::from_le_bytes(*rest.first_chunk()?);
        // The branch drops the lowest two bits.
        let is_aligned = target.is_multiple_of(Self::INSN_ALIGN);
        (is_aligned && (is_slot(BranchKind::Call) || is_slot(BranchKind::Jump))).then_some(target)
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
    fn a_slot_reaches_any_address() {
        let target = 0xc008_1234_5678_9abc;
        let code = Ppc64::slot(BranchKind::Call, AT, target).expect("aligned");
        assert_eq!(code.as_bytes().len(), Ppc64::SLOT_LEN);
        assert_eq!(Ppc64::slot_target(AT, code.as_bytes()), Some(target));
        let insns: [u32; 8] = [
            0xf841_0018, // std r2,24(r1)
            0x3d80_c000, // lis r12,-16384
            0x618c_0000, // ori r12,r12,0
            0x798c_07c6, // sldi r12,r12,32
            0x658c_0001, // oris r12,r12,1
            0xe98c_0020, // ld r12,32(r12)
            0x7d89_03a6, // mtctr r12
            0x4e80_0420, // bctr
        ];
        let want = insns.iter().fold(Code::EMPTY, |code, insn| code.then(&insn.to_le_bytes()));
        assert_eq!(code, want.then(&target.to_le_bytes()));
        let jump = Ppc64::slot(BranchKind::Jump, AT, target).expect("aligned");
        assert_eq!(jump.as_bytes()[..4], NOP.to_le_bytes());
        assert_eq!(jump.as_bytes()[4..], code.as_bytes()[4..]);

        assert_eq!(Ppc64::slot_target(AT + 8, code.as_bytes()), None, "it reads a literal elsewhere");
        assert_eq!(Ppc64::slot_target(AT, &code.as_bytes()[..Ppc64::SLOT_LEN - 1]), None);
        assert_eq!(Ppc64::slot(BranchKind::Call, AT, 2), Err(BranchError::Misaligned { addr: 2 }));
        let half = Ppc64::slot(BranchKind::Call, AT + 4, 0);
        assert_eq!(half, Err(BranchError::Misaligned { addr: AT + 4 }));
    }

    #[test]
    fn the_literals_low_half_is_added_with_its_sign() {
        // The literal is at …a008: the load takes 0x5ff8 off the next multiple of 64 KiB.
        let code = Ppc64::slot(BranchKind::Call, AT + 0x9fe8, 0).expect("aligned");
        let insns = |i: usize| u32::from_le_bytes(*code.as_bytes()[4 * i..].first_chunk().unwrap());
        assert_eq!((insns(4), insns(5)), (0x658c_0002, 0xe98c_a008));
    }
}
