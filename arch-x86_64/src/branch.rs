// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches of x86_64 (SDM vol. 2, "CALL", "JMP"; §2.1 and §2.2 for prefixes, ModRM and SIB).
//!
//! Only near branches are decoded: far ones (`lcall`, `ljmp`) change the code segment, and no kernel or module
//! function is reached by one.

use klp_core::Addr;
use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, MAX_CODE, Reach};

use crate::{ENDBR64, X86_64};

const CALL_REL32: u8 = 0xe8;
const JMP_REL32: u8 = 0xe9;
const JMP_REL8: u8 = 0xeb;
/// Opcode group 5; the `reg` field of ModRM selects the instruction (SDM vol. 2, table A-6).
const GROUP5: u8 = 0xff;
const GROUP5_CALL: u8 = 2;
const GROUP5_JMP: u8 = 4;

/// Longest instruction in bytes (SDM vol. 2, §2.3.11).
const MAX_INSN: usize = 15;

/// A slot without its target:
///
/// ```text
///   0: f3 0f 1e fa            endbr64
///   4: 4c 8b 1d 15 00 00 00   mov 32(%rip),%r11
///  11: e8 07 00 00 00         call 1f
///  16: f3 90                  pause
///  18: 0f ae e8               lfence
///  21: eb f9                  jmp 16
///  23: 4c 89 1c 24         1: mov %r11,(%rsp)
///  27: c3                     ret
///  28: cc cc cc cc            int3
///  32:                        .quad target
/// ```
const SLOT_CODE: [u8; 32] = [
    ENDBR64[0], ENDBR64[1], ENDBR64[2], ENDBR64[3], 0x4c, 0x8b, 0x1d, 0x15, 0, 0, 0, CALL_REL32, 0x07, 0, 0,
    0, 0xf3, 0x90, 0x0f, 0xae, 0xe8, JMP_REL8, 0xf9, 0x4c, 0x89, 0x1c, 0x24, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc,
];

const _: () = assert!(X86_64::SLOT_LEN <= MAX_CODE);

/// Length of a ModRM byte with its SIB byte and displacement, in 64-bit addressing (SDM vol. 2, tables 2-2 and 2-3;
/// a 32-bit address size does not change it). `None` if `code` is cut short.
fn modrm_len(code: &[u8]) -> Option<usize> {
    let modrm = *code.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return Some(1);
    }
    let sib = if rm == 4 { Some(*code.get(1)?) } else { None };
    let displacement = match mode {
        1 => 1,
        2 => 4,
        // Without a displacement by mode there is one all the same if the base field says "none" or "rip".
        _ if rm == 5 || sib.is_some_and(|sib| sib & 7 == 5) => 4,
        _ => 0,
    };
    let len = 1 + usize::from(sib.is_some()) + displacement;
    (code.len() >= len).then_some(len)
}

/// Number of bytes before the opcode, as far as near branches tolerate them: segment overrides (which double as branch
/// hints and `notrack`), address size, `bnd`/`rep`, and a REX prefix directly before the opcode.
///
/// The operand-size prefix is not among them: Intel and AMD disagree on what it does to a near branch (SDM vol. 2,
/// "CALL"), so code that has it is not understood.
fn prefix_len(code: &[u8]) -> usize {
    let legacy = code
        .iter()
        .take_while(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67 | 0xf2 | 0xf3));
    let legacy = legacy.count();
    legacy + usize::from(code.get(legacy).is_some_and(|byte| byte & 0xf0 == 0x40))
}

fn distance(from: Addr, to: Addr) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

impl FarBranch for X86_64 {
    /// A signed 32-bit displacement from the end of the instruction.
    const REACH: Reach = Reach {
        min: i32::MIN as i64 + Self::BRANCH_LEN as i64,
        max: i32::MAX as i64 + Self::BRANCH_LEN as i64,
        align: 1,
    };
    const BRANCH_LEN: usize = 5;
    const SLOT_LEN: usize = SLOT_CODE.len() + size_of::<Addr>();
    const SLOT_LITERAL: usize = SLOT_CODE.len();

    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        let opcode = match kind {
            BranchKind::Jump => JMP_REL32,
            BranchKind::Call => CALL_REL32,
        };
        let from_end = distance(from.wrapping_add(Self::BRANCH_LEN as u64), to);
        let Ok(displacement) = i32::try_from(from_end) else {
            return Err(BranchError::OutOfReach { distance: distance(from, to) });
        };
        Ok(Code::new(&[opcode]).then(&displacement.to_le_bytes()))
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        let code = &code[..code.len().min(MAX_INSN)];
        let prefixes = prefix_len(code);
        let (&opcode, operand) = code[prefixes..].split_first()?;
        let (kind, displacement, operand_len) = match opcode {
            CALL_REL32 => (BranchKind::Call, Some(i32::from_le_bytes(*operand.first_chunk()?)), 4),
            JMP_REL32 => (BranchKind::Jump, Some(i32::from_le_bytes(*operand.first_chunk()?)), 4),
            JMP_REL8 => (BranchKind::Jump, Some(i32::from(i8::from_le_bytes(*operand.first_chunk()?))), 1),
            GROUP5 => {
                let kind = match operand.first()? >> 3 & 7 {
                    GROUP5_CALL => BranchKind::Call,
                    GROUP5_JMP => BranchKind::Jump,
                    _ => return None,
                };
                (kind, None, modrm_len(operand)?)
            }
            _ => return None,
        };
        let len = u8::try_from(prefixes + 1 + operand_len).ok()?;
        let target = match displacement {
            Some(displacement) => {
                let next = at.wrapping_add(u64::from(len));
                BranchTarget::Direct(next.wrapping_add_signed(i64::from(displacement)))
            }
            None => BranchTarget::Indirect,
        };
        Some(Branch { kind, target, len })
    }

    /// True if the bytes end in `call rel32` or in `call *operand` of any length. Prefixes need not be looked at: they
    /// stand before what is. Calls through retpolines are `call rel32` to a thunk, or what the kernel rewrote them to,
    /// `call *%reg` (`arch/x86/kernel/alternative.c`).
    fn follows_call(_return_address: Addr, before: &[u8]) -> bool {
        if before.len() >= Self::BRANCH_LEN && before[before.len() - Self::BRANCH_LEN] == CALL_REL32 {
            return true;
        }
        // Opcode, then ModRM alone up to ModRM, SIB and a 32-bit displacement.
        (2..=7).filter(|&len| len <= before.len()).any(|len| {
            let call = &before[before.len() - len..];
            call[0] == GROUP5 && call[1] >> 3 & 7 == GROUP5_CALL && modrm_len(&call[1..]) == Some(len - 1)
        })
    }

    /// `endbr64`, then a retpoline in line that goes to the literal's value (40 bytes).
    ///
    /// The literal is data, in place of an immediate of `movabs`: instructions that a CPU may be executing are changed
    /// only by way of a breakpoint (`arch/x86/kernel/alternative.c`; SDM vol. 3A, "Handling Self- and Cross-Modifying
    /// Code"), an aligned quadword by one store. The load sees the old or the new one (SDM vol. 3A, "Guaranteed Atomic
    /// Operations").
    ///
    /// Why not `jmp *literal(%rip)`: where the kernel tracks indirect branches, that faults unless `target` begins with
    /// `endbr64`, and the kernel seals the landing pads of functions whose address it takes nowhere. A return is not
    /// tracked, so this slot reaches them all, as ftrace's trampoline does. It also leaves no indirect jump for the
    /// branch predictor to be trained on. On CPUs whose returns are mispredicted too (retbleed) it is as weak as any
    /// return that the kernel has not rewritten into a jump to its return thunk; code inside the kernel's 2 GiB, where
    /// all of its modules are, needs no slot.
    ///
    /// Only `r11` changes, which the psABI preserves nowhere (§3.2.1, figure 3.4) and no call passes anything in; flags
    /// do not. One word below the stack pointer is overwritten (kernel code has no red zone: `-mno-red-zone`).
    fn slot(_kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError> {
        if !at.is_multiple_of(Self::SLOT_ALIGN) {
            return Err(BranchError::Misaligned { addr: at });
        }
        Ok(Code::new(&SLOT_CODE).then(&target.to_le_bytes()))
    }

    fn slot_target(_at: Addr, code: &[u8]) -> Option<Addr> {
        Some(Addr::from_le_bytes(*code.strip_prefix(&SLOT_CODE)?.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = 0xffff_ffff_4000_0000;

    #[test]
    fn direct_branches_encode_and_decode() {
        for (kind, opcode) in [(BranchKind::Call, 0xe8), (BranchKind::Jump, 0xe9)] {
            for to in [AT, AT + 5, AT + 0x7fff_ffff + 5, AT - 0x8000_0000 + 5] {
                let code = X86_64::encode(kind, AT, to).unwrap();
                assert_eq!(code.as_bytes()[0], opcode);
                assert!(X86_64::REACH.covers(AT, to));
                let decoded = Branch { kind, target: BranchTarget::Direct(to), len: 5 };
                assert_eq!(X86_64::decode(AT, code.as_bytes()), Some(decoded));
            }
        }
        assert_eq!(
            X86_64::encode(BranchKind::Call, AT, AT + 0x100).unwrap().as_bytes(),
            [0xe8, 0xfb, 0, 0, 0],
            "as objdump shows it: call .+0x100"
        );
    }

    #[test]
    fn one_byte_beyond_reach_is_refused() {
        for to in [AT + 0x8000_0000 + 5, AT - 0x8000_0001 + 5] {
            let distance = to.wrapping_sub(AT).cast_signed();
            assert!(!X86_64::REACH.covers(AT, to));
            assert_eq!(X86_64::encode(BranchKind::Jump, AT, to), Err(BranchError::OutOfReach { distance }));
        }
    }

    #[test]
    fn short_jumps_and_prefixes() {
        let decode = |code: &[u8]| X86_64::decode(AT, code);
        let jump = |target, len| Some(Branch { kind: BranchKind::Jump, target, len });
        let call = |target, len| Some(Branch { kind: BranchKind::Call, target, len });
        assert_eq!(decode(&[0xeb, 0xfe]), jump(BranchTarget::Direct(AT), 2));
        // cs call: how the kernel pads a retpoline call to six bytes.
        assert_eq!(decode(&[0x2e, 0xe8, 0, 1, 0, 0]), call(BranchTarget::Direct(AT + 0x106), 6));
        assert_eq!(decode(&[0xf2, 0xe9, 0, 0, 0, 0]), jump(BranchTarget::Direct(AT + 6), 6));
        assert_eq!(decode(&[0x3e, 0x41, 0xff, 0xd3]), call(BranchTarget::Indirect, 4));
        assert_eq!(decode(&[0x65, 0x48, 0xff, 0x14, 0x25, 0, 0, 0, 0]), call(BranchTarget::Indirect, 9));
        assert_eq!(decode(&[0x66, 0xe8, 0, 0, 0, 0]), None, "vendors disagree");
        assert_eq!(decode(&[0x48, 0x2e, 0xff, 0xd0]), None, "REX counts only directly before the opcode");
    }

    /// Every ModRM form of `call *` with its length, written down from the SDM's tables.
    const INDIRECT_CALLS: [&[u8]; 12] = [
        &[0xff, 0xd0],                               // call *%rax
        &[0xff, 0xd4],                               // call *%rsp
        &[0xff, 0x10],                               // call *(%rax)
        &[0xff, 0x14, 0x24],                         // call *(%rsp)
        &[0xff, 0x50, 0x18],                         // call *0x18(%rax)
        &[0xff, 0x54, 0x24, 0x08],                   // call *8(%rsp)
        &[0xff, 0x15, 1, 2, 3, 4],                   // call *…(%rip)
        &[0xff, 0x90, 1, 2, 3, 4],                   // call *…(%rax)
        &[0xff, 0x94, 0x24, 1, 2, 3, 4],             // call *…(%rsp)
        &[0xff, 0x14, 0xc5, 0x00, 0x11, 0x22, 0x33], // call *…(,%rax,8)
        &[0xff, 0x14, 0x25, 0x00, 0x11, 0x22, 0x33], // call *…
        &[0xff, 0x14, 0xc8],                         // call *(%rax,%rcx,8)
    ];

    #[test]
    fn indirect_calls_and_jumps() {
        for call in INDIRECT_CALLS {
            let len = u8::try_from(call.len()).unwrap();
            let decoded = Branch { kind: BranchKind::Call, target: BranchTarget::Indirect, len };
            assert_eq!(X86_64::decode(AT, call), Some(decoded), "{call:02x?}");
            assert_eq!(X86_64::decode(AT, &call[..call.len() - 1]), None, "cut short: {call:02x?}");
            let mut jump = [0; 7];
            jump[..call.len()].copy_from_slice(call);
            jump[1] += 0x10;
            let decoded = Branch { kind: BranchKind::Jump, ..decoded };
            assert_eq!(X86_64::decode(AT, &jump), Some(decoded), "{jump:02x?}");
        }
    }

    #[test]
    fn what_is_no_unconditional_near_branch_is_not_decoded() {
        let others: [&[u8]; 9] = [
            &[],
            &[0xc3],                   // ret
            &[0x74, 0x00],             // je
            &[0x0f, 0x84, 0, 0, 0, 0], // je rel32
            &[0xff, 0xd8],             // lcall with a register: invalid
            &[0xff, 0x18],             // lcall *(%rax)
            &[0xff, 0x28],             // ljmp *(%rax)
            &[0xe8, 0, 0, 0],          // call, cut short
            &[0x2e; 16],               // prefixes only
        ];
        for code in others {
            assert_eq!(X86_64::decode(AT, code), None, "{code:02x?}");
        }
    }

    #[test]
    fn return_addresses_follow_calls() {
        for call in INDIRECT_CALLS {
            let mut before = [0x90; 10];
            before[10 - call.len()..].copy_from_slice(call);
            assert!(X86_64::follows_call(AT, &before), "{call:02x?}");
            assert!(X86_64::follows_call(AT, call), "at the start of the text: {call:02x?}");
        }
        assert!(X86_64::follows_call(AT, &[0x90, 0x90, 0x90, 0xe8, 1, 2, 3, 4]));
        let none: [&[u8]; 6] = [
            &[],
            &[0xe8, 0, 0, 0],
            &[0x90; 8],
            &[0x90, 0x90, 0x90, 0xe9, 1, 2, 3, 4],       // jmp
            &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x50], // call *disp8(%rax) without its displacement
            &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x18], // lcall
        ];
        for before in none {
            assert!(!X86_64::follows_call(AT, before), "{before:02x?}");
        }
    }

    #[test]
    fn a_slot_names_its_target_and_nothing_else_does() {
        let slot = X86_64::slot(BranchKind::Call, AT, 0x1122_3344_5566_7788).unwrap();
        let code = slot.as_bytes();
        assert_eq!(code.len(), X86_64::SLOT_LEN);
        assert_eq!(code[..4], ENDBR64);
        assert_eq!(X86_64::slot_target(AT, code), Some(0x1122_3344_5566_7788));
        for i in 0..X86_64::SLOT_LITERAL {
            let changed = Code::new(&code[..i]).then(&[code[i] ^ 1]).then(&code[i + 1..]);
            assert_eq!(X86_64::slot_target(AT, changed.as_bytes()), None, "byte {i}");
        }
        assert_eq!(X86_64::slot_target(AT, &code[..X86_64::SLOT_LEN - 1]), None);
        let odd = X86_64::slot(BranchKind::Call, AT + 4, 0);
        assert_eq!(odd, Err(BranchError::Misaligned { addr: AT + 4 }));
    }

    #[test]
    fn the_slots_inner_branches_and_its_load_stay_inside() {
        let slot = X86_64::slot(BranchKind::Jump, AT, 0).unwrap();
        let code = slot.as_bytes();
        let decode = |offset: usize| X86_64::decode(AT + offset as u64, &code[offset..]).unwrap().target;
        assert_eq!(decode(11), BranchTarget::Direct(AT + 23), "the call goes to the mov");
        assert_eq!(decode(21), BranchTarget::Direct(AT + 16), "the trap loops");
        let displacement = i32::from_le_bytes(*code[7..].first_chunk().unwrap());
        assert_eq!(
            11 + usize::try_from(displacement).unwrap(),
            X86_64::SLOT_LITERAL,
            "what r11 is loaded from"
        );
    }
}
