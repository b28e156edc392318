// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches of s390 (PoP ch. 7, "Branch Relative on Condition (Long)", "Branch Relative and Save (Long)", "Branch on
//! Condition", "Branch and Save", "Branch Indirect on Condition").
//!
//! The return address is register 14 (ELF ABI, "Registers"), so a *call* is a branch that links
//! there. A branch that links elsewhere leaves the return address alone and counts as a jump: ftrace's `brasl %r0,…`,
//! the hotpatch trampoline's `brasl %r1,…`. A branch through r14 is a return.

use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, MAX_CODE, Reach};
use klp_core::{Addr, Architecture};

use crate::S390;

/// The return-address register.
const RA: u8 = 14;
/// The condition mask of a branch that is always taken.
const ALWAYS: u8 = 15;

/// `brasl %r14,…` and `jg …` (`brcl 15,…`), without their displacement.
const BRASL_R14: [u8; 2] = [0xc0, 0xe5];
const JG: [u8; 2] = [0xc0, 0xf4];

/// A slot without its target:
///
/// ```text
///   0: c4 18 00 00 00 0c   lgrl  %r1,24
///   6: c6 00 00 00 00 05   exrl  %r0,16
///  12: a7 f4 00 00         j     12
///  16: 07 f1               br    %r1
///  18: 07 07 07 07 07 07   nopr  %r7 (three)
///  24:                     .quad target
/// ```
const SLOT_CODE: [u8; 24] = [
    0xc4, 0x18, 0, 0, 0, 0x0c, 0xc6, 0x00, 0, 0, 0, 0x05, 0xa7, 0xf4, 0, 0, 0x07, 0xf1, 0x07, 0x07, 0x07,
    0x07, 0x07, 0x07,
];

const _: () = assert!(S390::SLOT_LEN <= MAX_CODE);

const fn misaligned(addr: Addr) -> Option<BranchError> {
    if addr & 1 == 0 { None } else { Some(BranchError::Misaligned { addr }) }
}

/// What an instruction does if it is an unconditional branch.
#[derive(Clone, Copy)]
enum Effect {
    /// Goes on at its own address plus this many halfwords.
    Relative(BranchKind, i32),
    /// Goes where a register or a word in memory says.
    Indirect(BranchKind),
}

const fn linking_in(register: u8) -> BranchKind {
    if register == RA { BranchKind::Call } else { BranchKind::Jump }
}

/// Two bytes: `bcr 15,r`, `basr l,r`. Register 0 as the target means "do not branch"; through r14 it is a return.
fn decode_2([op, operands]: [u8; 2]) -> Option<Effect> {
    let (first, target) = (operands >> 4, operands & 15);
    match op {
        _ if target == 0 => None,
        0x07 if first == ALWAYS && target != RA => Some(Effect::Indirect(BranchKind::Jump)),
        0x0d => Some(Effect::Indirect(linking_in(first))),
        _ => None,
    }
}

/// Four bytes: `brc 15,…`, `bras l,…`, and to an address that is computed from registers `bc 15,…`, `bas l,…`.
fn decode_4([op, operands, high, low]: [u8; 4]) -> Option<Effect> {
    let (first, second) = (operands >> 4, operands & 15);
    let halfwords = i32::from(i16::from_be_bytes([high, low]));
    match (op, second) {
        (0xa7, 0x4) if first == ALWAYS => Some(Effect::Relative(BranchKind::Jump, halfwords)),
        (0xa7, 0x5) => Some(Effect::Relative(linking_in(first), halfwords)),
        (0x47, index) if first == ALWAYS && index != RA && high >> 4 != RA => {
            Some(Effect::Indirect(BranchKind::Jump))
        }
        (0x4d, _) => Some(Effect::Indirect(linking_in(first))),
        _ => None,
    }
}

/// Six bytes: `brcl 15,…`, `brasl l,…`, and to an address in memory `bic 15,…`.
fn decode_6([op, operands, a, b, c, d]: [u8; 6]) -> Option<Effect> {
    let (first, second) = (operands >> 4, operands & 15);
    let halfwords = i32::from_be_bytes([a, b, c, d]);
    match (op, second) {
        (0xc0, 0x4) if first == ALWAYS => Some(Effect::Relative(BranchKind::Jump, halfwords)),
        (0xc0, 0x5) => Some(Effect::Relative(linking_in(first), halfwords)),
        (0xe3, _) if first == ALWAYS && d == 0x47 => Some(Effect::Indirect(BranchKind::Jump)),
        _ => None,
    }
}

impl FarBranch for S390 {
    /// A signed 32-bit displacement in halfwords, from the start of the instruction.
    const REACH: Reach = Reach { min: i32::MIN as i64 * 2, max: i32::MAX as i64 * 2, align: 2 };
    const BRANCH_LEN: usize = 6;
    const SLOT_LEN: usize = SLOT_CODE.len() + size_of::<Addr>();
    const SLOT_LITERAL: usize = SLOT_CODE.len();

    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        if let Some(error) = misaligned(from).or(misaligned(to)) {
            return Err(error);
        }
        let distance = to.wrapping_sub(from).cast_signed();
        let Ok(halfwords) = i32::try_from(distance / 2) else {
            return Err(BranchError::OutOfReach { distance });
        };
        let opcode = match kind {
            BranchKind::Jump => &JG,
            BranchKind::Call => &BRASL_R14,
        };
        Ok(Code::new(opcode).then(&halfwords.to_be_bytes()))
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        // The two highest bits give the length (PoP ch. 5, "Instruction Formats").
        let (effect, len) = match code.first()? >> 6 {
            0 => (decode_2(*code.first_chunk()?)?, 2),
            1 | 2 => (decode_4(*code.first_chunk()?)?, 4),
            _ => (decode_6(*code.first_chunk()?)?, 6),
        };
        let (kind, target) = match effect {
            Effect::Relative(kind, halfwords) => {
                (kind, BranchTarget::Direct(at.wrapping_add_signed(i64::from(halfwords) * 2)))
            }
            Effect::Indirect(kind) => (kind, BranchTarget::Indirect),
        };
        Some(Branch { kind, target, len })
    }

    /// True for `brasl`, `bras`, `bas` and `basr` that link in r14. A call through an expoline thunk is a `brasl` to
    /// `__s390_indirect_jump_r*`; where the mitigation is off, the kernel rewrites it into `basr` and a NOP, and the
    /// return address is then before the NOP (`__nospec_revert` in `arch/s390/kernel/nospec-branch.c`).
    fn follows_call(return_address: Addr, before: &[u8]) -> bool {
        if return_address & 1 != 0 {
            return false;
        }
        let is_call = |effect: Option<Effect>| {
            matches!(effect, Some(Effect::Relative(BranchKind::Call, _) | Effect::Indirect(BranchKind::Call)))
        };
        before.last_chunk().is_some_and(|&code| is_call(decode_2(code)))
            || before.last_chunk().is_some_and(|&code| is_call(decode_4(code)))
            || before.last_chunk().is_some_and(|&code| is_call(decode_6(code)))
    }

    /// Loads the target into r1 and branches there (32 bytes).
    ///
    /// r1 is volatile and has no role in a call (ELF ABI, "Registers"); PLT entries use it too, the ABI's and those that
    /// `arch/s390/kernel/module.c` makes. The branch is executed by `exrl` instead of being met in line: that is what an
    /// expoline thunk does (`arch/s390/include/asm/nospec-insn.h`), for the processor does not predict it, and the `j` to
    /// itself behind it stops speculation. It costs little and needs no thunk of the kernel's, so there is one form for
    /// kernels with and without CONFIG_EXPOLINE. `lgrl` and `exrl` are in the z10, the oldest machine the kernel runs on.
    ///
    /// The literal is on a doubleword boundary, where `lgrl` demands it (PoP ch. 7, "Load Relative Long"), and such an
    /// operand is fetched doubleword-concurrently: all of it before or all of it after another CPU's store (PoP ch. 5,
    /// "Block-Concurrent References"). The PLT that the module loader makes does not align its literals, and never updates
    /// them.
    ///
    /// The same slot serves calls and jumps: r14 is as the branch left it.
    fn slot(_kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError> {
        if !at.is_multiple_of(Self::SLOT_ALIGN) {
            return Err(BranchError::Misaligned { addr: at });
        }
        match misaligned(target) {
            Some(error) => Err(error),
            None => Ok(Code::new(&SLOT_CODE).then(&target.to_be_bytes())),
        }
    }

    fn slot_target(_at: Addr, code: &[u8]) -> Option<Addr> {
        let target = Addr::from_be_bytes(*code.strip_prefix(&SLOT_CODE)?.first_chunk()?);
        target.is_multiple_of(Self::INSN_ALIGN).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = 0x3ff_e000_0000;

    #[test]
    fn direct_branches_encode_and_decode() {
        for (kind, mask) in [(BranchKind::Call, 0xe5), (BranchKind::Jump, 0xf4)] {
            for to in [AT, AT + 6, AT - 2, AT + 0xffff_fffe, AT - 0x1_0000_0000] {
                let code = S390::encode(kind, AT, to).unwrap();
                assert_eq!(code.as_bytes()[..2], [0xc0, mask]);
                assert!(S390::REACH.covers(AT, to));
                let decoded = Branch { kind, target: BranchTarget::Direct(to), len: 6 };
                assert_eq!(S390::decode(AT, code.as_bytes()), Some(decoded));
            }
        }
        assert_eq!(
            S390::encode(BranchKind::Call, AT, AT - 2).unwrap().as_bytes(),
            [0xc0, 0xe5, 255, 255, 255, 255]
        );
    }

    #[test]
    fn out_of_reach_and_odd_addresses_are_refused() {
        for to in [AT + 0x1_0000_0000, AT - 0x1_0000_0002] {
            let distance = to.wrapping_sub(AT).cast_signed();
            assert!(!S390::REACH.covers(AT, to));
            assert_eq!(S390::encode(BranchKind::Jump, AT, to), Err(BranchError::OutOfReach { distance }));
        }
        for (from, to, addr) in [(AT + 1, AT, AT + 1), (AT, AT + 3, AT + 3)] {
            assert_eq!(S390::encode(BranchKind::Call, from, to), Err(BranchError::Misaligned { addr }));
        }
    }

    #[test]
    fn every_form_of_an_unconditional_branch() {
        let direct = BranchTarget::Direct;
        let cases: [(&[u8], BranchKind, BranchTarget); 12] = [
            (&[0xa7, 0xf4, 0xff, 0xfe], BranchKind::Jump, direct(AT - 4)), // j
            (&[0xa7, 0xe5, 0x00, 0x10], BranchKind::Call, direct(AT + 32)), // bras %r14
            (&[0xa7, 0x15, 0x00, 0x10], BranchKind::Jump, direct(AT + 32)), // bras %r1
            (&[0xc0, 0x05, 0, 0, 0, 4], BranchKind::Jump, direct(AT + 8)), // brasl %r0: ftrace
            (&[0xc0, 0x15, 0, 0, 0, 4], BranchKind::Jump, direct(AT + 8)), // brasl %r1: hotpatch trampoline
            (&[0x07, 0xf1], BranchKind::Jump, BranchTarget::Indirect),     // br %r1
            (&[0x0d, 0xe1], BranchKind::Call, BranchTarget::Indirect),     // basr %r14,%r1
            (&[0x0d, 0xee], BranchKind::Call, BranchTarget::Indirect),     // basr %r14,%r14
            (&[0x0d, 0x1e], BranchKind::Jump, BranchTarget::Indirect),     // basr %r1,%r14
            (&[0x47, 0xf0, 0x10, 0x08], BranchKind::Jump, BranchTarget::Indirect), // b 8(%r1)
            (&[0x4d, 0xe0, 0x10, 0x08], BranchKind::Call, BranchTarget::Indirect), // bas %r14,8(%r1)
            (&[0xe3, 0xf0, 0x10, 0x08, 0x00, 0x47], BranchKind::Jump, BranchTarget::Indirect), // bi 8(%r1)
        ];
        for (code, kind, target) in cases {
            let len = u8::try_from(code.len()).unwrap();
            assert_eq!(S390::decode(AT, code), Some(Branch { kind, target, len }), "{code:02x?}");
            assert_eq!(S390::decode(AT, &code[..code.len() - 1]), None, "cut short: {code:02x?}");
        }
    }

    #[test]
    fn what_is_no_unconditional_branch_is_not_decoded() {
        let others: [&[u8]; 13] = [
            &[],
            &[0x07, 0xfe],                         // br %r14: a return
            &[0x47, 0xf0, 0xe0, 0x00],             // b 0(%r14)
            &[0x07, 0xf0],                         // bcr 15,0: serialisation
            &[0x07, 0x07],                         // nopr %r7
            &[0x07, 0x81],                         // ber %r1
            &[0x0d, 0x10],                         // basr %r1,0: loads the address
            &[0xa7, 0x84, 0x00, 0x10],             // je
            &[0xc0, 0x04, 0, 0, 0, 0],             // brcl 0: the ftrace NOP
            &[0xc0, 0x84, 0, 0, 0, 4],             // jge
            &[0xe3, 0x10, 0xf0, 0x08, 0x00, 0x04], // lg
            &[0xe3, 0x80, 0x10, 0x08, 0x00, 0x47], // bie
            &[0xc6, 0x00, 0x00, 0x00, 0x00, 0x05], // exrl
        ];
        for code in others {
            assert_eq!(S390::decode(AT, code), None, "{code:02x?}");
        }
    }

    #[test]
    fn return_addresses_follow_calls() {
        let calls: [&[u8]; 5] = [
            &[0x07, 0x07, 0xc0, 0xe5, 0x00, 0x12, 0x34, 0x56],
            &[0x07, 0x07, 0x07, 0x07, 0xa7, 0xe5, 0x12, 0x34],
            &[0x07, 0x07, 0x07, 0x07, 0x4d, 0xe0, 0x10, 0x08],
            &[0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x0d, 0xe1],
            &[0x0d, 0xe1],
        ];
        for before in calls {
            assert!(S390::follows_call(AT, before), "{before:02x?}");
            assert!(!S390::follows_call(AT + 1, before), "odd address");
        }
        let others: [&[u8]; 7] = [
            &[],
            &[0x07; 8],
            &[0x07, 0x07, 0xc0, 0xf4, 0x00, 0x12, 0x34, 0x56], // jg
            &[0x07, 0x07, 0xc0, 0x05, 0x00, 0x12, 0x34, 0x56], // brasl %r0: links elsewhere
            &[0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x0d, 0xe0], // basr %r14,0: no branch
            &[0x0d, 0xe1, 0x47, 0x00, 0x07, 0x00],             // behind the NOP of a rewritten expoline
            &[0xe5, 0x00, 0x12, 0x34, 0x56],                   // cut short
        ];
        for before in others {
            assert!(!S390::follows_call(AT, before), "{before:02x?}");
        }
    }

    #[test]
    fn a_slot_names_its_target_and_nothing_else_does() {
        let slot = S390::slot(BranchKind::Call, AT, 0x1122_3344_5566_7788).unwrap();
        let code = slot.as_bytes();
        assert_eq!(code.len(), S390::SLOT_LEN);
        assert_eq!(code[24..], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88], "big endian on every host");
        assert_eq!(S390::slot_target(AT, code), Some(0x1122_3344_5566_7788));
        for i in 0..24 {
            let changed = Code::new(&code[..i]).then(&[code[i] ^ 1]).then(&code[i + 1..]);
            assert_eq!(S390::slot_target(AT, changed.as_bytes()), None, "byte {i}");
        }
        assert_eq!(S390::slot_target(AT, &code[..31]), None);
        assert_eq!(S390::slot(BranchKind::Jump, AT + 2, AT), Err(BranchError::Misaligned { addr: AT + 2 }));
        assert_eq!(S390::slot(BranchKind::Jump, AT, AT + 1), Err(BranchError::Misaligned { addr: AT + 1 }));
    }

    #[test]
    fn the_slot_reads_its_target_and_executes_its_branch() {
        let relative = |at: usize| {
            let halfwords = i32::from_be_bytes(*SLOT_CODE[at + 2..].first_chunk().unwrap());
            usize::try_from(halfwords).unwrap() * 2 + at
        };
        assert_eq!(relative(0), SLOT_CODE.len(), "lgrl loads the doubleword behind the code");
        assert_eq!(SLOT_CODE[relative(6)..][..2], [0x07, 0xf1], "exrl executes br %r1");
        let trap = S390::decode(AT + 12, &SLOT_CODE[12..]).unwrap();
        assert_eq!(trap.target, BranchTarget::Direct(AT + 12));
    }
}
