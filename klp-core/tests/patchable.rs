// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Room at functions, on the toy architecture: a slot and a branch to it fit, or what is missing is said.

#[path = "sim/arch.rs"]
#[expect(dead_code, reason = "what the engine's tests need of it")]
mod arch;

use arch::{NOP, PAD, RET, Toy};
use klp_core::branch::BranchKind;
use klp_core::patchable::{Lack, NoRoom, PatchableEntry, room, site};
use klp_core::{FarBranch, Patchable};
use proptest::prelude::*;

type Arch = Toy<false>;

proptest! {
    /// Functions at any address, with any number of NOPs before them and at their entry.
    #[test]
    fn a_slot_fits_or_is_refused(at in 0x1000_u64..0x2000, before in 0_usize..12, after in 0_usize..3, pad: bool) {
        let at = at * 4;
        // Something that is no NOP, so that the room ends.
        let room_before = [vec![RET], vec![NOP; before]].concat().concat();
        let code = [vec![PAD; usize::from(pad)], vec![NOP; after], vec![RET]].concat().concat();
        let entry = PatchableEntry::of_code::<Arch>(&room_before, &code);
        let bytes = |words: usize| u16::try_from(4 * words).expect("small");
        let expected =
            PatchableEntry { before: bytes(before), after: bytes(after), after_offset: bytes(usize::from(pad)) };
        prop_assert_eq!(entry, expected);
        prop_assert_eq!(entry.slot(at), at - 4 * before as u64);
        prop_assert_eq!(entry.first_nop(at), if before > 0 { entry.slot(at) } else { entry.site(at) });

        let mut starts = (at - 4 * before as u64..at).rev().filter(|slot| slot.is_multiple_of(Arch::SLOT_ALIGN));
        let fits = starts.find(|slot| slot + Arch::SLOT_LEN as u64 <= at);
        match room::<Arch, _>("f", at, &room_before, &code) {
            Ok(found) => {
                prop_assert_eq!(Some(found.slot), fits, "the nearest one");
                prop_assert!(after >= 1 && found.one_nop);
                prop_assert_eq!(found.site, entry.site(at));
                prop_assert!(Arch::slot(BranchKind::Jump, found.slot, at).is_ok());
                prop_assert!(Arch::encode(BranchKind::Jump, found.site, found.slot).is_ok());
            }
            Err(NoRoom { at: Lack::Before { found, needed }, .. }) => {
                prop_assert_eq!(fits, None);
                prop_assert!(found == 4 * before && needed > found && needed < Arch::SLOT_LEN + 8);
            }
            Err(NoRoom { at: Lack::Entry { found, needed }, .. }) => {
                prop_assert!(fits.is_some() && after == 0);
                prop_assert_eq!((found, needed), (0, 4));
            }
            Err(NoRoom { at: Lack::OneNop { .. }, .. }) => prop_assert!(false, "a branch is as long as a NOP"),
        }
    }
}

#[test]
fn a_slot_that_was_filled_is_found_again() {
    for (at, pads) in [(0x1000, 0), (0x1000, 1), (0x1004, 0), (0x1004, 1)] {
        let mut before = [NOP; 5].concat();
        let entry = |insn: &[u8]| [&[PAD; 1].concat()[..4 * pads], insn, &RET].concat();
        let empty = room::<Arch, _>("f", at, &before, &entry(&NOP)).expect("there is room");
        assert_eq!(site::<Arch, _>("f", at, &before, &entry(&NOP)), Ok(empty), "nothing is filled yet");
        let start = before.len() - usize::try_from(at - empty.slot).expect("small");
        let mut lead_to = |target| {
            let slot = Arch::slot(BranchKind::Jump, empty.slot, target).expect("aligned");
            before[start..start + Arch::SLOT_LEN].copy_from_slice(slot.as_bytes());
            before.clone()
        };
        let branch = |to| Arch::encode(BranchKind::Jump, empty.site, to).expect("in reach");
        let found = |before: &[u8], insn: &[u8]| site::<Arch, _>("f", at, before, &entry(insn));
        let elsewhere = lead_to(0x4000);
        assert_eq!(found(&elsewhere, branch(empty.slot).as_bytes()), Ok(empty), "in use");
        found(&elsewhere, &NOP).expect_err("somebody else's code");
        let behind = lead_to(empty.site + 4);
        assert_eq!(found(&behind, branch(empty.slot).as_bytes()), Ok(empty), "a kprobe has kept the branch");
        assert_eq!(found(&behind, &NOP), Ok(empty), "not in use any more");
        assert_eq!(Arch::idle(&branch(empty.slot)).as_bytes(), NOP);
        found(&behind, branch(0x4000).as_bytes()).expect_err("the branch of somebody else");
        found(&behind, &RET).expect_err("no branch");
        assert!(room::<Arch, _>("f", at, &before, &entry(&NOP)).is_err(), "it is no room");
    }
}

#[test]
fn what_is_missing_is_told_by_name() {
    let at = |lack| NoRoom { func: "do_thing", at: lack }.to_string();
    assert_eq!(
        at(Lack::Before { found: 8, needed: 24 }),
        "function 'do_thing' has no room for a slot: 8 bytes of NOPs before it, 24 are needed"
    );
    assert_eq!(
        at(Lack::OneNop { needed: 5 }),
        "function 'do_thing' has no room for a branch: several NOPs are at its entry, one of 5 bytes is needed"
    );
    assert_eq!(
        at(Lack::Entry { found: 0, needed: 4 }),
        "function 'do_thing' has no room for a branch: 0 bytes of NOPs at its entry, 4 are needed"
    );
}
