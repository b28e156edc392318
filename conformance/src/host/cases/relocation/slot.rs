// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of branches: in reach against the disassembler, beyond it through a slot.

use klp_core::branch::BranchTarget;
use klp_core::reloc::{ByWay, RelocError, Relocation};
use klp_core::slots::SlotArea;
use klp_core::{Addr, Architecture};
use proptest::prelude::*;

use super::super::{ensure, ensure_eq};
use super::{Object1, assemble};
use crate::host::description::Limits;
use crate::host::evaluate::{Machine, Next};
use crate::host::oracle::{Flow, Oracle, hex};
use crate::host::random::for_all;
use crate::host::toolchain::Toolchain;
use crate::host::{Check, Description};

/// How many values at either side of a limit are tried.
const WINDOW: i64 = 512;

/// The samples that are branches, assembled, and their limits.
fn branches<'a>(tools: &Toolchain, d: &'a Description) -> Result<Vec<(Object1<'a>, i64, i64, i64)>, String> {
    let samples = d.relocations.iter().filter(|sample| sample.is_branch);
    samples
        .map(|sample| {
            let Limits::Range { min, max, step } = sample.limits else {
                return Err(format!("{} is a branch without limits", sample.name));
            };
            Ok((assemble(tools, d, sample, 0)?, min, max, step))
        })
        .collect()
}

/// From the place to what its instruction counts from: what the type's own addend says, the other way round.
fn own<A: Architecture>(r_type: u32) -> Result<i64, String> {
    match A::by_way(r_type) {
        ByWay::Slot { own } => Ok(own),
        other => Err(format!("type {r_type} is a branch, but {other:?}")),
    }
}

/// Where the text branches to, to the disassembler: by its first instruction, or by several, the last to a register.
fn target(d: &Description, oracle: &dyn Oracle, at: Addr, text: &[u8]) -> Option<Addr> {
    let mut machine = Machine::new(at, text, false);
    let mut rest = text;
    while !rest.is_empty() {
        let insn = oracle.insn(machine.pc, rest)?;
        if let Flow::Branch { target: BranchTarget::Direct(to), .. } = insn.flow {
            return Some(to);
        }
        match (d.slot.effect)(&mut machine, &insn)? {
            Next::Insn => {}
            Next::At(to) => return Some(to),
            Next::Execute(_) => return None,
        }
        machine.pc = machine.pc.wrapping_add(insn.len as u64);
        rest = &rest[insn.len..];
    }
    None
}

/// Applies a branch's relocation to go to `to`, and asks the disassembler where it goes.
fn branch_to<A: Architecture>(
    d: &Description,
    oracle: &dyn Oracle,
    object: &Object1<'_>,
    base: Addr,
    to: Addr,
    addend: i64,
) -> Check {
    let place = base + object.offset as u64;
    let addend = addend + own::<A>(object.r_type)?;
    let symbol = to.wrapping_add_signed(own::<A>(object.r_type)?).wrapping_add_signed(-addend);
    let relocation = Relocation { r_type: object.r_type, place, symbol, addend };
    let mut text = object.text.clone();
    let what = format!("{} from {base:#x} to {to:#x}, addend {addend}", object.name);
    let len = A::relocate(&relocation, &mut text[object.offset..]);
    len.map_err(|error| format!("{what}: refused, {error:x?}"))?;
    ensure_eq!(target(d, oracle, base, &text), Some(to), "{what}: {} to {}", hex(&text), oracle.name());
    Ok(())
}

pub(super) fn reach<A: Architecture>(d: &'static Description) -> Check {
    let (tools, oracle) = (Toolchain::new(d)?, (d.oracle)());
    let base = d.text[0] & !0xffff;
    for (object, min, max, step) in branches(&tools, d)? {
        let place = base + object.offset as u64;
        let to = |value: i64| place.wrapping_add_signed(value - own::<A>(object.r_type).unwrap_or(0));
        let last = [min, max].into_iter().flat_map(|limit| (-WINDOW..WINDOW).map(move |i| limit + i * step));
        for value in last.chain((-WINDOW..WINDOW).map(|i| i * step)) {
            if (min..=max).contains(&value) {
                branch_to::<A>(d, oracle.as_ref(), &object, base, to(value), 0)?;
            }
        }
        let random = (min / step..=max / step, -8_i64..8).prop_map(|(n, addend)| (n * step, addend * step));
        for_all(4096, &random, |(value, addend)| {
            branch_to::<A>(d, oracle.as_ref(), &object, base, to(value), addend)
        })?;
    }
    Ok(())
}

/// What lies behind the branch in the compiler's code, and what is to be there once it goes through a slot.
fn with_room(d: &Description, object: &Object1<'_>) -> (Vec<u8>, Vec<u8>) {
    let [before, after] = d.slot.behind_call.map(crate::host::description::bytes);
    ([&object.text[..], &before].concat(), after)
}

pub(super) fn through<A: Architecture>(d: &'static Description) -> Check {
    let (tools, oracle) = (Toolchain::new(d)?, (d.oracle)());
    let base = d.text[0] & !0xffff;
    let slots = base + 0x1_0000;
    let mut through = 0;
    for (object, min, max, step) in branches(&tools, d)? {
        let place = base + object.offset as u64;
        let (room, restored) = with_room(d, &object);
        let beyond = [min - step, max + step, min - WINDOW * step, max + WINDOW * step, 1 << 40, 1 << 20];
        for (value, other_object) in beyond.into_iter().flat_map(|value| [(value, true), (value, false)]) {
            let mut targets = [None; 2];
            let mut area = SlotArea::<A>::new(slots, &mut targets).map_err(|e| format!("{e:?}"))?;
            let symbol = place.wrapping_add_signed(value);
            let own = own::<A>(object.r_type)?;
            let relocation = Relocation { r_type: object.r_type, place, symbol, addend: 0 };
            let what = format!("{} {} with the value {value:#x}", object.name, object.sample.code);
            let mut text = room.clone();
            let applied = area.relocate(&relocation, other_object, &mut text[object.offset..]);
            let inside = (min..=max).contains(&value);
            let direct = inside && !(other_object && d.slot.between_objects);
            // Nothing is to restore what a tail call's caller expects.
            if !direct && !restored.is_empty() && !object.sample.is_call {
                ensure_eq!(applied, Err(RelocError::TailCall), "{what}");
                ensure_eq!((text, area.used()), (room.clone(), 0), "{what}: the bytes, slots taken");
                continue;
            }
            // A field too short for the slot as well: refused, whole.
            let distance = slots.wrapping_sub(place).cast_signed() + own;
            if !direct && !(min..=max).contains(&distance) {
                ensure!(matches!(applied, Err(RelocError::Overflow { .. })), "{what}: {applied:x?}");
                ensure_eq!((text, area.used()), (room.clone(), 0), "{what}: the bytes, slots taken");
                continue;
            }
            let applied = applied.map_err(|error| format!("{what}: refused, {error:x?}"))?;
            let to = target(d, oracle.as_ref(), base, &text);
            let expected = symbol.wrapping_add_signed(-own);
            let behind = &text[object.text.len()..];
            match applied.slot {
                None => {
                    ensure!(direct, "{what} is out of reach, and goes there directly");
                    ensure_eq!(to, Some(expected), "{what}");
                    ensure_eq!(behind, &room[object.text.len()..], "{what}: what is behind the call");
                }
                Some(slot) => {
                    ensure!(!direct, "{what} is in reach, and goes through a slot");
                    ensure_eq!(to, Some(slot.at), "{what}");
                    let code = slot.code.ok_or_else(|| format!("{what}: no code for a new slot"))?;
                    ensure_eq!(A::slot_target(slot.at, code.as_bytes()), Some(expected), "{what}: its slot");
                    ensure_eq!(behind, restored, "{what}: what is behind the call");
                    through += 1;
                }
            }
        }
    }
    ensure!(through > 4, "only {through} went through a slot");
    Ok(())
}
