// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Slots of a patch, on the toy architecture: what is planned is enough, and what is applied leads where it should.

#[path = "sim/arch.rs"]
#[expect(dead_code, reason = "what the engine's tests need of it")]
mod arch;

use arch::{BRANCH, DATA, LITERAL, Toy};
use klp_core::branch::{BranchError, BranchKind, BranchTarget};
use klp_core::reloc::{Refused, RelocError, Relocation};
use klp_core::slots::{Destination, Slot, SlotArea, capacity, destinations};
use klp_core::{Addr, FarBranch, Relocate};
use proptest::prelude::*;

const TEXT: Addr = 0x10_0000_0000;
const SLOTS: Addr = TEXT + 0x10_0000;

/// An object's relocations: type, symbol, addend. The place is a doubleword of its own.
type Relocations = Vec<(u32, usize, i64)>;

fn relocations() -> impl Strategy<Value = Relocations> {
    let relocation = (prop::sample::select(&[DATA, BRANCH, LITERAL, 99][..]), 0_usize..6, -2_i64..3);
    prop::collection::vec(relocation.prop_map(|(r_type, symbol, words)| (r_type, symbol, words * 4)), 0..40)
}

/// Addresses of the symbols: in reach, out of reach, the same twice.
fn symbols() -> impl Strategy<Value = Vec<Addr>> {
    let near = (0_u64..1 << 20).prop_map(|words| TEXT - 4 * words);
    let far = (0_u64..1 << 40).prop_map(|words| 4 * words);
    let address = prop_oneof![near, far, Just(0x40_0000_0000)];
    prop::collection::vec(address, 6)
}

fn plan<const STUB: bool>(relocations: &Relocations) -> usize {
    let mut destinations: Vec<_> = destinations::<Toy<STUB>, usize>(relocations.iter().copied()).collect();
    capacity(&mut destinations)
}

/// Memory of the slots, as their caller writes it.
#[derive(Default)]
struct Memory(Vec<(Addr, Vec<u8>)>);

impl Memory {
    fn write(&mut self, slot: &Slot) {
        if let Some(code) = &slot.code {
            self.0.retain(|(at, _)| *at != slot.at);
            self.0.push((slot.at, code.as_bytes().to_vec()));
        }
    }

    fn target<A: FarBranch>(&self, at: Addr) -> Option<Addr> {
        let (_, code) = self.0.iter().find(|(slot, _)| *slot == at)?;
        A::slot_target(at, code)
    }
}

fn call() -> [u8; 8] {
    let mut code = [0; 8];
    let call = Toy::<false>::encode(BranchKind::Call, TEXT, TEXT).expect("in reach");
    code[..4].copy_from_slice(call.as_bytes());
    code
}

/// Applies all relocations with as many slots as were planned, and looks where each one leads.
fn applies<const STUB: bool>(relocations: &Relocations, symbols: &[Addr], other_object: bool) {
    let planned = plan::<STUB>(relocations);
    let mut targets = vec![Some(7); planned];
    let mut area = SlotArea::<Toy<STUB>>::new(SLOTS, &mut targets).expect("aligned");
    let mut memory = Memory::default();
    for (i, &(r_type, symbol, addend)) in relocations.iter().enumerate() {
        let place = TEXT + 8 * i as u64;
        let relocation = Relocation { r_type, place, symbol: symbols[symbol], addend };
        let mut code = call();
        let applied = area.relocate(&relocation, other_object, &mut code);
        if r_type == 99 {
            assert_eq!(applied, Err(RelocError::UnknownType(99)));
            assert_eq!(code, call());
            continue;
        }
        let applied = applied.expect("there are enough slots");
        if let Some(slot) = &applied.slot {
            let end = SLOTS + SlotArea::<Toy<STUB>>::size(planned) as u64;
            assert!((SLOTS..end).contains(&slot.at), "{:#x} is no slot", slot.at);
            memory.write(slot);
        }
        let word = u64::from_be_bytes(code);
        let value = symbols[symbol].wrapping_add_signed(addend);
        match r_type {
            DATA => assert_eq!((word, applied.slot), (value, None)),
            LITERAL => {
                let slot = applied.slot.expect("the literal").at;
                let literal = slot + Toy::<STUB>::SLOT_LITERAL as u64;
                assert_eq!(word, literal.wrapping_add_signed(addend));
                assert_eq!(memory.target::<Toy<STUB>>(slot), Some(symbols[symbol]));
            }
            _ => {
                let Some(BranchTarget::Direct(to)) = Toy::<STUB>::decode(place, &code).map(|it| it.target)
                else {
                    panic!("no direct branch: {code:02x?}");
                };
                let (target, reaches) = (value + 4, Toy::<STUB>::REACH.covers(place, value + 4));
                match applied.slot {
                    None => assert!(to == target && reaches && !(STUB && other_object)),
                    Some(slot) => {
                        assert!(!reaches || STUB && other_object, "{target:#x} is in reach of {place:#x}");
                        assert_eq!(to, slot.at);
                        assert_eq!(memory.target::<Toy<STUB>>(to), Some(target));
                    }
                }
            }
        }
    }
    assert!(area.used() <= planned);
    assert_eq!(area.used(), memory.0.len(), "no target has two slots");
}

proptest! {
    #[test]
    fn what_was_planned_is_enough(relocations in relocations(), symbols in symbols(), other_object: bool) {
        applies::<false>(&relocations, &symbols, other_object);
        applies::<true>(&relocations, &symbols, other_object);
    }

    /// All symbols far away and different: every slot that was planned is used, and one fewer is too few.
    #[test]
    fn what_was_planned_is_needed_in_the_worst_case(relocations in relocations()) {
        let planned = plan::<false>(&relocations);
        for slots in [planned, planned.saturating_sub(1)] {
            let mut targets = vec![None; slots];
            let mut area = SlotArea::<Toy<false>>::new(SLOTS, &mut targets).expect("aligned");
            let mut full = None;
            for &(r_type, symbol, addend) in relocations.iter().filter(|(r_type, ..)| *r_type != 99) {
                let symbol = 0x80_0000_0000 + 0x1000_0000 * symbol as u64;
                let mut code = call();
                let relocation = Relocation { r_type, place: TEXT, symbol, addend };
                if let Err(error) = area.relocate(&relocation, true, &mut code) {
                    prop_assert_eq!(code, call(), "changed by a relocation that failed");
                    full = Some(error);
                }
            }
            let short = RelocError::NoSlot { needed: planned, planned: slots };
            prop_assert_eq!(full, (slots < planned).then_some(short));
            prop_assert_eq!(area.used(), slots);
        }
    }

    /// Slots of an object that leaves serve others; those of objects that stay are not touched.
    #[test]
    fn released_slots_serve_again(stay in 1_u64..20, gone in 1_u64..20) {
        let total = usize::try_from(stay + gone).expect("small");
        let mut targets = vec![None; total];
        let mut area = SlotArea::<Toy<false>>::new(SLOTS, &mut targets).expect("aligned");
        let (staying, leaving, coming) = (0x1_0000_0000, 0x2_0000_0000, 0x3_0000_0000);
        let slots: Vec<Slot> = (0..stay).map(|i| area.slot(staying + 4 * i).expect("free")).collect();
        let left: Vec<Slot> = (0..gone).map(|i| area.slot(leaving + 4 * i).expect("free")).collect();
        prop_assert_eq!(area.slot(coming), Err(RelocError::NoSlot { needed: total + 1, planned: total }));
        area.release(|target| target >= leaving);
        prop_assert_eq!(area.used(), slots.len());
        for i in 0..gone {
            let slot = area.slot(coming + 4 * i).expect("released");
            prop_assert!(left.iter().any(|it| it.at == slot.at) && slot.code.is_some());
        }
        for (i, slot) in slots.iter().enumerate() {
            prop_assert_eq!(area.slot(staying + 4 * i as u64), Ok(Slot { code: None, ..*slot }));
        }
    }
}

#[test]
fn destinations_are_symbols_and_offsets() {
    let relocations = vec![
        (BRANCH, 'f', -4),
        (BRANCH, 'f', -4),
        (BRANCH, 'f', 0), // into the function: another destination
        (BRANCH, 'g', -4),
        (DATA, 'h', 0),
        (LITERAL, 'd', -4),
        (LITERAL, 'd', 0),
    ];
    let mut found: Vec<_> = destinations::<Toy<false>, char>(relocations).collect();
    assert_eq!(capacity(&mut found), 4);
    found.dedup();
    let at = |symbol, offset| Destination { symbol, offset };
    assert_eq!(found, [at('d', 0), at('f', 0), at('f', 4), at('g', 0)]);
    assert_eq!(capacity::<char>(&mut []), 0);
}

#[test]
fn a_refusal_takes_no_slot() {
    let mut targets = [None; 2];
    assert_eq!(
        SlotArea::<Toy<false>>::new(SLOTS + 4, &mut targets).map(|area| area.used()),
        Err(BranchError::Misaligned { addr: SLOTS + 4 })
    );
    let mut area = SlotArea::<Toy<true>>::new(SLOTS, &mut targets).expect("aligned");
    let mut nop = [0; 8];
    let relocation = Relocation { r_type: BRANCH, place: TEXT, symbol: 1 << 40, addend: -4 };
    assert_eq!(area.relocate(&relocation, true, &mut nop), Err(RelocError::UnexpectedCode([0; 4])));
    assert_eq!((area.used(), nop), (0, [0; 8]));
    let odd = Relocation { symbol: (1 << 40) + 2, ..relocation };
    assert_eq!(area.relocate(&odd, true, &mut call()), Err(RelocError::Misaligned((1 << 40) + 2)));
    assert_eq!(area.used(), 0);
    // A slot that is out of reach itself.
    let far = Relocation { place: TEXT + (1 << 30), ..relocation };
    let refused = area.relocate(&far, true, &mut call());
    assert!(matches!(refused, Err(RelocError::Overflow { .. })), "{refused:?}");
    assert_eq!(area.used(), 0);
    let data = Toy::<true>::relocate_to_slot(&Relocation { r_type: DATA, ..relocation }, SLOTS, &mut call());
    assert_eq!(data, Err(RelocError::UnknownType(DATA)));
}

/// Place, type, symbol and distance are in the text, and the reason.
#[test]
fn refusals_are_told_in_full() {
    let text = |r_type, symbol, addend, error| {
        let relocation = Relocation { r_type, place: 0xffff_0000_1000, symbol, addend };
        Refused::new::<Toy<false>>(relocation, "do_thing", error).to_string()
    };
    let (near, far) = (0xffff_0000_0ff0, 0xffff_4000_1000);
    let texts = [
        text(BRANCH, far, -4, RelocError::Overflow { value: 0x3fff_fffc, bits: 26 }),
        text(BRANCH, near, 8, RelocError::Misaligned(2)),
        text(BRANCH, near, 0, RelocError::UnexpectedCode([1, 2, 0xab, 0xff])),
        text(DATA, near, 0, RelocError::ShortCode),
        text(DATA, near, 0, RelocError::Overflow { value: -3, bits: 32 }),
        text(99, near, 0, RelocError::UnknownType(99)),
        text(BRANCH, far, 0, RelocError::TailCall),
        text(BRANCH, far, 0, RelocError::NoRestore([0x60, 0, 0, 1])),
        text(BRANCH, far, 0, RelocError::NoSlot { needed: 8, planned: 7 }),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}
