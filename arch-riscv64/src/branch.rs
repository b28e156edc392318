// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches and slots of riscv64 ("The RISC-V Instruction Set Manual, Volume I: Unprivileged Architecture", "Unconditional Jumps"
//! of RV32I, and "Control Transfer Instructions" of the "C" extension).
//!
//! `jal` and `jalr` link in any register. Two of them are link registers, x1 and x5 (the table of return-address stack hints there;
//! psABI, "Integer Register Convention": `ra` and `t0`, the "alternate link register"): a jump that links in one of these is a
//! *call*, one that links nowhere and goes through one of them is a *return*, and one that links elsewhere counts as a jump. ftrace's
//! sites link in t0.

use klp_core::Addr;
use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, Reach};

use crate::{Riscv64, insn, parcel};

/// `jal` and `jalr`: the opcode, and of the second the function field, which is zero.
const JAL: u32 = 0x6f;
const JALR: u32 = 0x67;
const OPCODE: u32 = 0x7f;
const OPCODE_FUNCT3: u32 = 0x707f;

/// The return-address register, x1.
const RA: u32 = 1;

/// A slot without its target:
///
/// ```text
///   0:  auipc t3, 0
///   4:  ld    t3, 16(t3)
///   8:  jr    t3
///  12:  unimp               (two of 16 bits)
///  16:  .dword target
/// ```
const SLOT_CODE: [u32; 4] = [0x0000_0e17, 0x010e_3e03, 0x000e_0067, 0];

const _: () = assert!(Riscv64::SLOT_LITERAL.is_multiple_of(8));

const fn check_aligned(addr: Addr) -> Result<(), BranchError> {
    if addr.is_multiple_of(2) { Ok(()) } else { Err(BranchError::Misaligned { addr }) }
}

const fn is_link(register: u32) -> bool {
    matches!(register, 1 | 5)
}

const fn linking_in(register: u32) -> BranchKind {
    if is_link(register) { BranchKind::Call } else { BranchKind::Jump }
}

/// A field of an instruction: `len` bits from bit `at` up, put at bit `to`.
const fn field(insn: u32, at: u32, len: u32, to: u32) -> u32 {
    (insn >> at & ((1 << len) - 1)) << to
}

/// A displacement of `bits` bits, sign included.
const fn signed(value: u32, bits: u32) -> i64 {
    ((value << (32 - bits)).cast_signed() >> (32 - bits)) as i64
}

/// The displacement of `jal` (J-type: `imm[20|10:1|11|19:12]`).
const fn jal_distance(insn: u32) -> i64 {
    let distance =
        field(insn, 31, 1, 20) | field(insn, 21, 10, 1) | field(insn, 20, 1, 11) | field(insn, 12, 8, 12);
    signed(distance, 21)
}

/// The displacement of `c.j` (CJ-type: `imm[11|4|9:8|10|6|7|3:1|5]`).
const fn cj_distance(insn: u32) -> i64 {
    let distance = field(insn, 12, 1, 11)
        | field(insn, 11, 1, 4)
        | field(insn, 9, 2, 8)
        | field(insn, 8, 1, 10)
        | field(insn, 7, 1, 6)
        | field(insn, 6, 1, 7)
        | field(insn, 3, 3, 1)
        | field(insn, 2, 1, 5);
    signed(distance, 12)
}

/// What an instruction does if it is an unconditional branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Goes on so many bytes further.
    Relative(BranchKind, i64),
    /// Goes where a register says.
    Indirect(BranchKind),
}

impl Effect {
    const fn is_call(self) -> bool {
        matches!(self, Effect::Relative(BranchKind::Call, _) | Effect::Indirect(BranchKind::Call))
    }
}

/// Two bytes: `c.j`, `c.jr`, `c.jalr`, which links in ra. (`c.jal` is RV32's; on RV64 its bits are `c.addiw`.) Register 0 is
/// no jump: `c.jr` of it is reserved, `c.jalr` of it is `c.ebreak`.
fn decode_2(insn: u16) -> Option<Effect> {
    let insn = u32::from(insn);
    let from = field(insn, 7, 5, 0);
    match (insn & 0xe003, insn & 0xf07f) {
        (0xa001, _) => Some(Effect::Relative(BranchKind::Jump, cj_distance(insn))),
        (_, 0x8002) if from != 0 && !is_link(from) => Some(Effect::Indirect(BranchKind::Jump)),
        (_, 0x9002) if from != 0 => Some(Effect::Indirect(BranchKind::Call)),
        _ => None,
    }
}

/// Four bytes: `jal` and `jalr`.
fn decode_4(insn: u32) -> Option<Effect> {
    let (to, from) = (field(insn, 7, 5, 0), field(insn, 15, 5, 0));
    if insn & OPCODE == JAL {
        Some(Effect::Relative(linking_in(to), jal_distance(insn)))
    } else if insn & OPCODE_FUNCT3 == JALR && !(to == 0 && is_link(from)) {
        Some(Effect::Indirect(linking_in(to)))
    } else {
        None
    }
}

impl FarBranch for Riscv64 {
    /// Of `jal`: a signed displacement of 20 bits in units of two bytes, from the instruction's address.
    const REACH: Reach = Reach { min: -0x10_0000, max: 0xf_fffe, align: 2 };
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
            BranchKind::Call => RA,
        };
        // In reach: no bit above the 21st says more than that one.
        let bits = (distance & 0x1f_ffff) as u32;
        let distance =
            field(bits, 20, 1, 31) | field(bits, 1, 10, 21) | field(bits, 11, 1, 20) | field(bits, 12, 8, 12);
        Ok(Code::new(&(JAL | link << 7 | distance).to_le_bytes()))
    }

    /// The two lowest bits of the first 16 tell a compressed instruction, the next three one that is longer than 32 bits
    /// ("Expanded Instruction-Length Encoding"), of which there is none yet.
    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        let first = parcel(code, 0)?;
        let (effect, len) =
            if first & 0b11 == 0b11 { (decode_4(insn(code, 0)?)?, 4) } else { (decode_2(first)?, 2) };
        let (kind, target) = match effect {
            Effect::Relative(kind, distance) => {
                (kind, BranchTarget::Direct(at.wrapping_add_signed(distance)))
            }
            Effect::Indirect(kind) => (kind, BranchTarget::Indirect),
        };
        Some(Branch { kind, target, len })
    }

    /// True for `c.jalr`, and for `jal` and `jalr` that link in ra or t0.
    fn follows_call(return_address: Addr, before: &[u8]) -> bool {
        let is_call = |effect: Option<Effect>| effect.is_some_and(Effect::is_call);
        return_address.is_multiple_of(2)
            && (before.last_chunk().is_some_and(|&code| is_call(decode_2(u16::from_le_bytes(code))))
                || before.last_chunk().is_some_and(|&code| is_call(decode_4(u32::from_le_bytes(code)))))
    }

    /// Loads the target into t3, as the ABI's own stub does (psABI, "Program Linkage Table": `auipc t3`, `ld t3`, `jalr t1, t3`),
    /// and jumps there: through no link register, which would be predicted as a return.
    ///
    /// The kernel's own module PLT is the same with t0 and t1, and its targets are in another section (`emit_plt_entry` in
    /// `arch/riscv/include/asm/module.h`). What is behind the jump is the defined illegal instruction. "Naturally aligned loads and stores are guaranteed to execute atomically" (Unprivileged
    /// Architecture, "Load and Store Instructions"), and the literal is aligned to 8 bytes.
    ///
    /// There is no landing pad: stock kernels do not enable Zicfilp (they have no `RISCV_KERNEL_CFI`).
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
        // JALR clears the lowest bit: such a slot leads elsewhere.
        (same && target.is_multiple_of(2)).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = 0xffff_ffff_8001_0002;

    fn decode(code: &[u8]) -> Option<(BranchKind, BranchTarget, u8)> {
        Riscv64::decode(AT, code).map(|branch| (branch.kind, branch.target, branch.len))
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let reach = Riscv64::REACH;
        for distance in
            [0, 2, -2, 4, 0x800, 0x1000, 0x1234, -0x1234, 0x5_5554, -0xa_aaaa, reach.min, reach.max]
        {
            let to = AT.wrapping_add_signed(distance);
            for kind in [BranchKind::Jump, BranchKind::Call] {
                let code = Riscv64::encode(kind, AT, to).expect("in reach");
                let branch = Riscv64::decode(AT, code.as_bytes());
                assert_eq!(branch, Some(Branch { kind, target: BranchTarget::Direct(to), len: 4 }));
            }
        }
        let jal = Riscv64::encode(BranchKind::Call, AT, AT - 2);
        assert_eq!(jal, Ok(Code::new(&0xffff_f0ef_u32.to_le_bytes())));
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
    fn every_form_of_an_unconditional_branch() {
        use BranchKind::{Call, Jump};
        use BranchTarget::{Direct, Indirect};
        let long = |insn: u32| decode(&insn.to_le_bytes());
        let short = |insn: u16| decode(&insn.to_le_bytes());
        assert_eq!(long(0x0100_006f), Some((Jump, Direct(AT + 16), 4)), "j .+16");
        assert_eq!(long(0x0100_00ef), Some((Call, Direct(AT + 16), 4)), "jal .+16");
        assert_eq!(long(0x0100_02ef), Some((Call, Direct(AT + 16), 4)), "jal t0,.+16");
        assert_eq!(long(0x0100_036f), Some((Jump, Direct(AT + 16), 4)), "jal t1,.+16");
        assert_eq!(long(0x0103_00e7), Some((Call, Indirect, 4)), "jalr ra,16(t1)");
        assert_eq!(long(0x0002_82e7), Some((Call, Indirect, 4)), "jalr t0,t0: ftrace's");
        assert_eq!(long(0x0000_82e7), Some((Call, Indirect, 4)), "jalr t0,ra: in a coroutine");
        assert_eq!(long(0x0008_0067), Some((Jump, Indirect, 4)), "jr a6");
        assert_eq!(long(0x000e_0367), Some((Jump, Indirect, 4)), "jalr t1,t3");
        assert_eq!(short(0xa001), Some((Jump, Direct(AT), 2)), "c.j .");
        assert_eq!(short(0xbffd), Some((Jump, Direct(AT - 2), 2)), "c.j .-2");
        assert_eq!(short(0xaffd), Some((Jump, Direct(AT + 2046), 2)), "c.j .+2046");
        assert_eq!(short(0xb001), Some((Jump, Direct(AT - 2048), 2)), "c.j .-2048");
        assert_eq!(short(0x8782), Some((Jump, Indirect, 2)), "c.jr a5");
        assert_eq!(short(0x9782), Some((Call, Indirect, 2)), "c.jalr a5");
        assert_eq!(short(0x9082), Some((Call, Indirect, 2)), "c.jalr ra");
    }

    #[test]
    fn branches_are_told_from_returns_and_conditions() {
        for other in [
            0x0000_8067_u32, // ret
            0x0002_8067,     // jr t0
            0x0080_8067,     // jr 8(ra)
            0x0000_1067,     // reserved: JALR's opcode, another function
            0x00b5_0463,     // beq a0,a1,.+8
            0x0000_0013,     // nop
            0x0000_0297,     // auipc t0,0
            0x0010_0073,     // ebreak
        ] {
            assert_eq!(decode(&other.to_le_bytes()), None, "{other:08x}");
        }
        for other in [
            0x8082_u16, // c.jr ra: ret
            0x8282,     // c.jr t0
            0x8002,     // reserved
            0x9002,     // c.ebreak
            0x2005,     // c.addiw, which is c.jal on RV32
            0xc101,     // c.beqz a0
            0x0001,     // c.nop
            0x853e,     // c.mv a0,a5
            0x0000,     // unimp
        ] {
            assert_eq!(decode(&other.to_le_bytes()), None, "{other:04x}");
        }
        assert_eq!(decode(&[0xef, 0, 0]), None, "cut short");
        assert_eq!(decode(&[0x82]), None, "cut short");
    }

    #[test]
    fn a_return_address_follows_a_call_of_either_length() {
        let long = |insn: u32| Riscv64::follows_call(AT, &insn.to_le_bytes());
        let short = |insn: u16| Riscv64::follows_call(AT, &insn.to_le_bytes());
        assert!(long(0x0100_00ef) && long(0x0103_00e7) && long(0x0002_82e7));
        assert!(short(0x9782) && Riscv64::follows_call(AT, &[0x13, 0, 0x82, 0x97]));
        for other in [0x0100_006f, 0x0100_036f, 0x0008_0067, 0x0000_8067, 0x0000_0013] {
            assert!(!long(other), "{other:08x}");
        }
        assert!(!short(0x8782) && !short(0x9002) && !short(0xa001) && !short(0x8082));
        assert!(
            !Riscv64::follows_call(AT + 1, &0x0100_00ef_u32.to_le_bytes()),
            "not an instruction's address"
        );
        assert!(!Riscv64::follows_call(AT, &[0, 0x01]));
    }

    #[test]
    fn a_slot_reaches_any_address() {
        let (at, target) = (AT - 2, 0xffff_1234_5678_9abc);
        let code = Riscv64::slot(BranchKind::Call, at, target).expect("aligned");
        assert_eq!(code.as_bytes().len(), Riscv64::SLOT_LEN);
        assert_eq!(Riscv64::slot_target(at, code.as_bytes()), Some(target));
        assert_eq!(Riscv64::slot(BranchKind::Jump, at, target), Ok(code));
        assert_eq!(
            (SLOT_CODE[1] >> 20) as usize,
            Riscv64::SLOT_LITERAL,
            "what the load adds to the address of auipc"
        );
        for i in 0..Riscv64::SLOT_LITERAL {
            let bytes = code.as_bytes();
            let other = Code::new(&bytes[..i]).then(&[bytes[i] ^ 1]).then(&bytes[i + 1..]);
            assert_eq!(Riscv64::slot_target(at, other.as_bytes()), None, "byte {i}");
        }
        assert_eq!(Riscv64::slot_target(at, &code.as_bytes()[..Riscv64::SLOT_LEN - 1]), None);
        let odd = Code::new(&code.as_bytes()[..Riscv64::SLOT_LITERAL]).then(&3_u64.to_le_bytes());
        assert_eq!(Riscv64::slot_target(at, odd.as_bytes()), None);
        assert_eq!(Riscv64::slot(BranchKind::Call, at, 3), Err(BranchError::Misaligned { addr: 3 }));
        let half = Riscv64::slot(BranchKind::Call, at + 4, 0);
        assert_eq!(half, Err(BranchError::Misaligned { addr: at + 4 }));
    }
}
