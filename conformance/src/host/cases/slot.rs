// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H3: slots.

mod executed;

use klp_core::branch::{BranchError, BranchKind, Code, MAX_CODE};
use klp_core::{Addr, Architecture, Endian};
use proptest::prelude::*;

use super::{ensure, ensure_eq};
use crate::host::evaluate::{End, Machine};
use crate::host::oracle::{Oracle, hex, listing};
use crate::host::random::for_all;
use crate::host::{Case, Check, Description, golden};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let abi = d.manuals.slots;
    vec![
        Case::new("H3.1", "slot.continues_at_the_target_and_changes_nothing_else", abi, flow::<A>),
        Case::new("H3.2", "slot.target_reads_back", "klp_core::FarBranch::slot_target", reads_back::<A>),
        Case::new(
            "H3.3",
            "slot.target_of_other_code_is_none",
            "klp_core::FarBranch::slot_target",
            no_slot::<A>,
        ),
        Case::new("H3.4", "slot.refuses_misaligned_addresses", d.manuals.branches, misaligned::<A>),
        Case::new("H3.5", "slot.starts_with_a_landing_pad", abi, landing_pad::<A>)
            .only_if(!d.slot.landing_pads.is_empty(), "an indirect branch may land on any instruction"),
        Case::new("H3.6", "slot.code_is_as_approved", abi, approved::<A>),
        Case::new("H3.7", "slot.target_is_an_aligned_literal_alone", "klp_core::FarBranch", literal::<A>),
        Case::new("H3.8", "slot.keeps_every_register_when_executed", abi, executed::keeps_registers::<A>),
        Case::new(
            "H3.9",
            "slot.goes_to_the_old_or_the_new_target_while_updated",
            "klp_core::FarBranch; reference/2019-arm64-ftrace-with-regs",
            executed::updated::<A>,
        ),
    ]
}

const KINDS: [BranchKind; 2] = [BranchKind::Jump, BranchKind::Call];

/// A place that a slot may lie at, and any target.
fn places<A: Architecture>(d: &'static Description) -> impl Strategy<Value = (BranchKind, Addr, Addr)> {
    let at = (prop::sample::select(d.text), 0_u64..1 << 20)
        .prop_map(|(text, n)| (text + n * A::SLOT_ALIGN).next_multiple_of(A::SLOT_ALIGN));
    let target = prop_oneof![
        any::<u64>().prop_map(|addr| addr / A::INSN_ALIGN * A::INSN_ALIGN),
        prop::sample::select(d.text),
        Just(0),
        Just(u64::MAX / A::INSN_ALIGN * A::INSN_ALIGN),
    ];
    // A target inside the slot would be no end of it.
    (prop::sample::select(&KINDS[..]), at, target).prop_map(|(kind, at, target)| {
        let inside = target.wrapping_sub(at) < MAX_CODE as u64;
        (kind, at, if inside { target + 0x1000 } else { target })
    })
}

fn make<A: Architecture>(kind: BranchKind, at: Addr, target: Addr) -> Result<Code, String> {
    let code = A::slot(kind, at, target);
    let code = code.map_err(|e| format!("{kind:?} at {at:#x} to {target:#x}: refused, {e:x?}"))?;
    ensure_eq!(code.as_bytes().len(), A::SLOT_LEN, "length of the slot at {at:#x} to {target:#x}");
    Ok(code)
}

fn run<A: Architecture>(d: &Description, oracle: &dyn Oracle, at: Addr, code: &[u8]) -> Result<End, String> {
    let machine = Machine::new(at, code, A::ENDIAN == Endian::Big);
    let end = machine.run(oracle, d.slot.effect);
    end.map_err(|error| format!("{error}\n{}", listing(oracle, at, code)))
}

fn flow<A: Architecture>(d: &'static Description) -> Check {
    ensure!(A::SLOT_LEN <= MAX_CODE, "SLOT_LEN {} exceeds MAX_CODE", A::SLOT_LEN);
    let multiple = A::SLOT_ALIGN.is_power_of_two() && A::SLOT_ALIGN.is_multiple_of(A::INSN_ALIGN);
    ensure!(multiple, "SLOT_ALIGN {} and INSN_ALIGN {}", A::SLOT_ALIGN, A::INSN_ALIGN);
    let oracle = (d.oracle)();
    for_all(2048, &places::<A>(d), |(kind, at, target)| {
        let code = make::<A>(kind, at, target)?;
        let End { pc, machine, .. } = run::<A>(d, oracle.as_ref(), at, code.as_bytes())?;
        let list = || listing(oracle.as_ref(), at, code.as_bytes());
        ensure_eq!(pc, target, "the slot at {at:#x} leads to\n{}", list());
        let loads = machine.loads_of(at + A::SLOT_LITERAL as u64);
        ensure_eq!(loads, 1, "loads of the literal, which may change between two\n{}", list());
        let saved =
            d.slot.calls_save.filter(|_| kind == BranchKind::Call).map(|(register, base, displacement)| {
                (Machine::initial(base).wrapping_add(displacement), Machine::initial(register))
            });
        if let Some((addr, value)) = saved {
            ensure_eq!(machine.load(addr), Some(value), "what is saved at {addr:#x}\n{}", list());
        }
        for addr in machine.stores() {
            let expected = saved.is_some_and(|(saved, _)| addr == saved) || (d.slot.may_store)(addr);
            ensure!(expected, "the slot stores at {addr:#x}\n{}", list());
        }
        for register in machine.changed() {
            ensure!(
                d.slot.may_change.contains(&register),
                "the slot changes {register}; it may change {:?}\n{}",
                d.slot.may_change,
                list()
            );
        }
        for register in d.slot.hold_target {
            ensure_eq!(machine.get(register), target, "{register} at the target\n{}", list());
        }
        Ok(())
    })
}

fn reads_back<A: Architecture>(d: &'static Description) -> Check {
    for_all(2048, &places::<A>(d), |(kind, at, target)| {
        let code = make::<A>(kind, at, target)?;
        ensure_eq!(A::slot_target(at, code.as_bytes()), Some(target), "{code:?} at {at:#x}");
        let more = [code.as_bytes(), &[0xff; 8]].concat();
        ensure_eq!(A::slot_target(at, &more), Some(target), "{code:?} at {at:#x} and more behind it");
        Ok(())
    })
}

/// A slot with a bit flipped either still leads where it is said to lead, or is none.
fn no_slot<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let (at, target) = (d.text[0].next_multiple_of(A::SLOT_ALIGN), d.text[d.text.len() - 1] + 0x1230);
    let code = make::<A>(BranchKind::Call, at, target)?;
    for len in 0..A::SLOT_LEN {
        ensure_eq!(A::slot_target(at, &code.as_bytes()[..len]), None, "{len} bytes of a slot");
    }
    let mut none = 0;
    for bit in 0..8 * A::SLOT_LEN {
        let mut bytes = code.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match A::slot_target(at, &bytes) {
            None => none += 1,
            Some(read) => {
                let end = run::<A>(d, oracle.as_ref(), at, &bytes)?;
                ensure_eq!(end.pc, read, "leads to\n{}", listing(oracle.as_ref(), at, &bytes));
            }
        }
    }
    ensure!(none > 0, "whatever bit is flipped, it is still a slot");
    for code in d.branch_code() {
        let padded = [&code[..], &[0; MAX_CODE]].concat();
        ensure_eq!(A::slot_target(at, &padded), None, "a branch and zeros");
    }
    Ok(())
}

fn misaligned<A: Architecture>(d: &'static Description) -> Check {
    let at = d.text[0].next_multiple_of(A::SLOT_ALIGN);
    let slots = (1..A::SLOT_ALIGN).map(|off| (at + off, at, at + off));
    let targets = (1..A::INSN_ALIGN).map(|off| (at, at + off, at + off));
    for (at, target, addr) in slots.chain(targets) {
        for kind in KINDS {
            let found = A::slot(kind, at, target);
            ensure_eq!(found, Err(BranchError::Misaligned { addr }), "a slot at {at:#x} to {target:#x}");
        }
    }
    let code = make::<A>(BranchKind::Call, at, at)?;
    for off in 1..A::INSN_ALIGN {
        let bytes = with_literal::<A>(&code, at + off);
        ensure_eq!(A::slot_target(at, &bytes), None, "a slot whose literal is {:#x}", at + off);
    }
    Ok(())
}

/// A slot with another literal.
fn with_literal<A: Architecture>(slot: &Code, literal: Addr) -> Vec<u8> {
    let mut bytes = slot.as_bytes().to_vec();
    bytes[A::SLOT_LITERAL..][..8].copy_from_slice(&match A::ENDIAN {
        Endian::Little => literal.to_le_bytes(),
        Endian::Big => literal.to_be_bytes(),
    });
    bytes
}

/// The target is 8 bytes of data at a multiple of 8, and no other byte of the slot depends on it.
fn literal<A: Architecture>(d: &'static Description) -> Check {
    ensure!(A::SLOT_ALIGN.is_multiple_of(8) && A::SLOT_LITERAL.is_multiple_of(8), "the literal's alignment");
    let multiple = (A::SLOT_LEN as u64).is_multiple_of(A::SLOT_ALIGN);
    ensure!(multiple, "SLOT_LEN {} and SLOT_ALIGN {}: slots in a row", A::SLOT_LEN, A::SLOT_ALIGN);
    ensure!(A::SLOT_LITERAL + 8 <= A::SLOT_LEN, "the literal is part of the slot");
    for_all(2048, &places::<A>(d), |(kind, at, target)| {
        let code = make::<A>(kind, at, target)?;
        let other = make::<A>(kind, at, d.text[1])?;
        let updated = with_literal::<A>(&other, target);
        ensure_eq!(updated, code.as_bytes(), "the slot at {at:#x} to {:#x}, moved to {target:#x}", d.text[1]);
        Ok(())
    })
}

fn landing_pad<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let at = d.text[0].next_multiple_of(A::SLOT_ALIGN);
    let code = make::<A>(BranchKind::Call, at, d.text[1])?;
    let first = run::<A>(d, oracle.as_ref(), at, code.as_bytes())?.first;
    let pads = d.slot.landing_pads;
    ensure!(pads.contains(&first.as_str()), "the slot starts with '{first}', not one of {pads:?}");
    Ok(())
}

fn approved<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let at = d.text[0].next_multiple_of(A::SLOT_ALIGN);
    let target = 0x1234_5678_9abc_def0;
    let mut text = String::new();
    for kind in KINDS {
        let code = make::<A>(kind, at, target)?;
        let (insns, literal) = code.as_bytes().split_at(A::SLOT_LITERAL);
        text += &format!("{kind:?} at {at:#x} to {target:#x}\n\n{}", listing(oracle.as_ref(), at, insns));
        text += &format!("{:+5}  {}\n\n", A::SLOT_LITERAL, hex(literal));
    }
    golden::check(d, "slot.code_is_as_approved", &text)
}
