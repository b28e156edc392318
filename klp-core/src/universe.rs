// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which functions each task runs while a transition is under way.
//!
//! The kernel keeps this in `task_struct` (`patch_state`, a thread flag); a module cannot. Here it is in a table keyed by
//! the task's address, which exists during a transition only and is read by the callbacks of functions in transition
//! only. A task that is not in the table was born after the table was filled, on a fresh stack, and is in the universe
//! that the transition leads to.
//!
//! # Who may do what
//!
//! * Slots are filled ([`Universes::insert`]) and the universe of the unlisted is changed ([`Universes::set_born`]) before
//!   any callback reads the table, or with the machine stopped.
//! * A task's own slot changes while the task is held still, or by the task itself, with preemption off.
//! * A callback reads the slot of the task it runs on, preemption off. So no callback ever sees its answer change while it
//!   runs, and the answer changes between two callbacks of one task only where the task was held.
//!
//! The listed tasks are kept from being freed as long as the table exists: an address names one task.

use core::ptr;

use crate::Addr;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// What a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Universe {
    /// The functions as they are without the patch in transition.
    Unpatched,
    /// The functions as they are with it.
    Patched,
}

impl Universe {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Universe {
        match self {
            Universe::Unpatched => Universe::Patched,
            Universe::Patched => Universe::Unpatched,
        }
    }

    /// Its index in arrays that hold something for each.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    fn of(word: u32) -> Universe {
        if word & PATCHED != 0 { Universe::Patched } else { Universe::Unpatched }
    }

    fn word(self) -> u32 {
        if self == Universe::Patched { PATCHED } else { 0 }
    }
}

const PATCHED: u32 = 1;
/// The task was asked to leave the kernel, and has not done so.
const ASKED: u32 = 2;
/// The task waits at the border to user mode.
const WAITS: u32 = 4;

/// A place in the table; all zero: free.
#[derive(Debug, Default)]
pub struct Slot {
    /// In the first slot: how many there are.
    task: AtomicU64,
    state: AtomicU32,
}

impl Slot {
    /// Of a table's first slot, which [`Shown::first`] gave: how many slots the table has.
    pub fn table_len(&self) -> usize {
        usize::try_from(self.task.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// Where callbacks and tasks that leave the kernel find the table.
///
/// One word: with the machine stopped there are still NMIs, which must find a table whole while another takes its place.
#[derive(Debug)]
pub struct Shown {
    first: AtomicPtr<Slot>,
}

impl Shown {
    /// Shows no table.
    #[cfg(not(loom))] // whose atomics are no constants
    pub const fn new() -> Shown {
        Shown { first: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Shows no table.
    #[cfg(loom)]
    pub fn new() -> Shown {
        Shown { first: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Makes everybody look at these slots; at none, if there are none.
    pub fn show(&self, slots: &[Slot]) {
        let first = match slots.first() {
            Some(first) => {
                first.task.store(slots.len() as u64, Ordering::Relaxed);
                slots.as_ptr()
            }
            None => ptr::null(),
        };
        self.first.store(first.cast_mut(), Ordering::Release);
    }

    /// The first slot of the table that is shown; null: there is none. Preemption off, as long as it is used.
    #[inline]
    pub fn first(&self) -> *const Slot {
        self.first.load(Ordering::Acquire)
    }
}

impl Default for Shown {
    fn default() -> Shown {
        Shown::new()
    }
}

/// A listed task.
#[derive(Debug)]
pub struct Listed<'a> {
    slot: &'a Slot,
}

impl Listed<'_> {
    /// Its address (`struct task_struct *`).
    pub fn task(&self) -> Addr {
        self.slot.task.load(Ordering::Relaxed)
    }

    /// Where it is.
    pub fn universe(&self) -> Universe {
        Universe::of(self.slot.state.load(Ordering::Acquire))
    }

    /// Switches it. It is held still, or it is the running task and preemption is off.
    pub fn switch(&self, universe: Universe) {
        match universe {
            Universe::Patched => self.slot.state.fetch_or(PATCHED, Ordering::Release),
            Universe::Unpatched => self.slot.state.fetch_and(!PATCHED, Ordering::Release),
        };
    }

    /// Notes that it is asked to leave the kernel. `false`: it was asked before, and has not left.
    pub fn ask(&self) -> bool {
        self.slot.state.fetch_or(ASKED, Ordering::AcqRel) & ASKED == 0
    }

    /// Whether it was asked to leave the kernel, and has not left.
    pub fn is_asked(&self) -> bool {
        self.slot.state.load(Ordering::Acquire) & ASKED != 0
    }

    /// Notes that it has left the kernel, or that it is asked no more.
    pub fn left(&self) {
        self.slot.state.fetch_and(!ASKED, Ordering::Release);
    }

    /// Notes that it waits at the border to user mode, or does not any more.
    pub fn set_waiting(&self, waits: bool) {
        if waits {
            self.slot.state.fetch_or(WAITS, Ordering::Release);
        } else {
            self.slot.state.fetch_and(!WAITS, Ordering::Release);
        }
    }

    /// Whether it waits at the border to user mode.
    pub fn is_waiting(&self) -> bool {
        self.slot.state.load(Ordering::Acquire) & WAITS != 0
    }
}

/// The table. The first slot holds the universe of the unlisted, the rest an open-addressing hash table.
#[derive(Clone, Copy, Debug)]
pub struct Universes<'a> {
    slots: &'a [Slot],
}

impl<'a> Universes<'a> {
    /// How many slots a table for so many tasks has: at least half of the places stay free.
    #[must_use]
    pub const fn slots_for(tasks: usize) -> usize {
        1 + (2 * tasks + 2).next_power_of_two()
    }

    /// The table in `slots`, as many as [`slots_for`](Self::slots_for) says, all of them default at first.
    #[inline]
    pub const fn new(slots: &'a [Slot]) -> Universes<'a> {
        Universes { slots }
    }

    /// The universe of a task. Any context, preemption off.
    #[inline]
    pub fn of(&self, task: Addr) -> Universe {
        // Read first, for an NMI that comes while tasks are being listed: if those born later are elsewhere already, it sees
        // that this one is listed.
        let born = self.born();
        self.find(task).map_or(born, |listed| listed.universe())
    }

    /// The universe of tasks that are not listed.
    #[inline]
    pub fn born(&self) -> Universe {
        self.slots
            .first()
            .map_or(Universe::Unpatched, |slot| Universe::of(slot.state.load(Ordering::Acquire)))
    }

    /// Changes the universe of tasks that are not listed. Nobody reads the table yet, or the machine is stopped.
    pub fn set_born(&self, universe: Universe) {
        if let Some(slot) = self.slots.first() {
            slot.state.store(universe.word(), Ordering::Release);
        }
    }

    /// Whether the task is listed.
    pub fn is_listed(&self, task: Addr) -> bool {
        self.find(task).is_ok()
    }

    /// How many tasks can be listed in all.
    pub fn room(&self) -> usize {
        (self.slots.len().saturating_sub(1) / 2).saturating_sub(1)
    }

    /// Lists a task that is not listed. Nobody reads the table yet, or the machine is stopped. `false`: there is no room.
    #[must_use]
    pub fn insert(&self, task: Addr, universe: Universe) -> bool {
        match self.find(task) {
            Err(Some(slot)) => {
                slot.state.store(universe.word(), Ordering::Relaxed);
                slot.task.store(task, Ordering::Release);
                true
            }
            _ => false,
        }
    }

    /// Takes over what another table says of all tasks. Nobody reads this one yet, or the machine is stopped. `false`: there
    /// is no room for all.
    #[must_use]
    pub fn copy(&self, other: &Universes<'_>) -> bool {
        for (_, listed) in other.iter() {
            let Err(Some(slot)) = self.find(listed.task()) else { return false };
            slot.state.store(listed.slot.state.load(Ordering::Acquire), Ordering::Relaxed);
            slot.task.store(listed.task(), Ordering::Release);
        }
        self.set_born(other.born());
        true
    }

    /// The task, which is running, does what it was asked to do on leaving the kernel. At the border it waits, or is where
    /// those that are not listed are; elsewhere it is asked again. Answers whether it waits. Preemption off.
    pub fn leave(&self, task: Addr, waits: bool, is_at_border: impl FnOnce() -> bool) -> bool {
        // Not asked: by an earlier transition, which is over.
        let Some(listed) = self.listed(task).filter(Listed::is_asked) else { return false };
        let leaves = is_at_border();
        listed.left();
        if leaves && waits {
            listed.set_waiting(true);
        } else if leaves {
            listed.switch(self.born());
        }
        leaves && waits
    }

    /// A task that is listed.
    pub fn listed(&self, task: Addr) -> Option<Listed<'a>> {
        self.find(task).ok()
    }

    /// All that are listed, each with its place.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Listed<'a>)> + use<'a> {
        let slots = self.slots.iter().enumerate().skip(1);
        slots
            .filter(|(_, slot)| slot.task.load(Ordering::Relaxed) != 0)
            .map(|(place, slot)| (place, Listed { slot }))
    }

    /// The task at a place that [`iter`](Self::iter) gave.
    pub fn at(&self, place: usize) -> Option<Listed<'a>> {
        self.slots.get(place).map(|slot| Listed { slot })
    }

    /// The task's slot, or the free one where it would go, if there is any.
    #[inline]
    fn find(&self, task: Addr) -> Result<Listed<'a>, Option<&'a Slot>> {
        let Some((_, slots)) = self.slots.split_first().filter(|(_, slots)| !slots.is_empty()) else {
            return Err(None);
        };
        // A power of two.
        let mask = slots.len() - 1;
        // Fibonacci hashing; task structures are aligned, so their low bits say nothing.
        let hash = (task >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let first = usize::try_from(hash).unwrap_or(0);
        for probe in 0..slots.len() {
            let slot = &slots[first.wrapping_add(probe) & mask];
            match slot.task.load(Ordering::Acquire) {
                0 => return Err(Some(slot)),
                found if found == task => return Ok(Listed { slot }),
                _ => {}
            }
        }
        Err(None)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn slots(tasks: usize) -> Vec<Slot> {
        (0..Universes::slots_for(tasks)).map(|_| Slot::default()).collect()
    }

    #[test]
    fn a_table_without_slots_says_unpatched() {
        let none = Universes::new(&[]);
        assert_eq!(
            (none.of(0x1000), none.born(), none.room()),
            (Universe::Unpatched, Universe::Unpatched, 0)
        );
        assert!(!none.insert(0x1000, Universe::Patched));
    }

    #[test]
    fn a_listed_task_has_its_own_universe_and_others_that_of_the_unlisted() {
        let slots = slots(3);
        let table = Universes::new(&slots);
        table.set_born(Universe::Patched);
        assert!(table.insert(0x1000, Universe::Unpatched));
        assert!(!table.insert(0x1000, Universe::Patched), "it is listed");
        assert_eq!((table.of(0x1000), table.of(0x1040)), (Universe::Unpatched, Universe::Patched));
        table.listed(0x1000).expect("listed").switch(Universe::Patched);
        assert_eq!(table.of(0x1000), Universe::Patched);
        table.set_born(Universe::Unpatched);
        assert_eq!((table.of(0x1000), table.of(0x1040)), (Universe::Patched, Universe::Unpatched));
    }

    #[test]
    fn a_copy_says_all_that_the_table_says() {
        let (small, big) = (slots(2), slots(40));
        let (table, copy) = (Universes::new(&small), Universes::new(&big));
        table.set_born(Universe::Patched);
        assert!(table.insert(0x1000, Universe::Unpatched) && table.insert(0x2000, Universe::Patched));
        assert!(table.listed(0x1000).expect("listed").ask());
        table.listed(0x2000).expect("listed").set_waiting(true);
        assert!(copy.copy(&table));
        let of = |task| {
            let listed = copy.listed(task).expect("listed");
            (listed.universe(), listed.is_asked(), listed.is_waiting())
        };
        assert_eq!(of(0x1000), (Universe::Unpatched, true, false));
        assert_eq!(of(0x2000), (Universe::Patched, false, true));
        assert_eq!(copy.born(), Universe::Patched);
        assert!(!Universes::new(&[]).copy(&table), "no room");
    }

    #[test]
    fn a_table_has_room_for_the_tasks_it_was_made_for_wherever_they_lie() {
        for stride in [0x40, 0x1000, 0x2540, 0x1_0000_0000_u64] {
            let slots = slots(1000);
            let table = Universes::new(&slots);
            assert!(table.room() >= 1000);
            let tasks: Vec<Addr> = (1..=1000).map(|nth| 0xffff_8880_0000_0000 + nth * stride).collect();
            for (nth, task) in tasks.iter().enumerate() {
                assert!(!table.is_listed(*task));
                assert!(
                    table.insert(*task, if nth % 3 == 0 { Universe::Patched } else { Universe::Unpatched })
                );
            }
            for (nth, task) in tasks.iter().enumerate() {
                assert_eq!(table.of(*task) == Universe::Patched, nth % 3 == 0);
            }
            let mut found: Vec<Addr> = table.iter().map(|(_, listed)| listed.task()).collect();
            found.sort_unstable();
            assert_eq!(found, tasks);
            assert!(
                table
                    .iter()
                    .all(|(place, listed)| table.at(place).map(|at| at.task()) == Some(listed.task()))
            );
        }
    }
}
