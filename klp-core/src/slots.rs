// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Slots of a patch: how many it may need, and which one serves which target.
//!
//! How many is known from an object's relocations, before anything is loaded or a symbol has an address. Each distinct
//! symbol and offset that a branch leads to may turn out to be out of reach and needs one slot, however many branches
//! lead there; and each symbol whose address is read from memory needs a literal, for which a slot is used too.

use core::marker::PhantomData;

use crate::Addr;
use crate::branch::{BranchError, BranchKind, Code, FarBranch};
use crate::reloc::{ByWay, RelocError, Relocate, Relocation};

/// Where a relocation leads that a slot can serve. `S` is a symbol, as the object's symbol table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination<S> {
    /// The symbol.
    pub symbol: S,
    /// From the symbol to the destination.
    pub offset: i64,
}

/// Where a relocation of this type leads; `None` if no slot can serve it.
pub fn destination<A: Relocate, S>(r_type: u32, symbol: S, addend: i64) -> Option<Destination<S>> {
    match A::by_way(r_type) {
        ByWay::None => None,
        ByWay::Slot { own } => Some(Destination { symbol, offset: addend.wrapping_sub(own) }),
        // What is added, is added to the literal's address.
        ByWay::Literal => Some(Destination { symbol, offset: 0 }),
    }
}

/// Where the relocations of an object lead, those that slots can serve: type, symbol and addend of each.
pub fn destinations<A: Relocate, S>(
    relocations: impl IntoIterator<Item = (u32, S, i64)>,
) -> impl Iterator<Item = Destination<S>> {
    relocations.into_iter().filter_map(|(r_type, symbol, addend)| destination::<A, S>(r_type, symbol, addend))
}

/// How many slots are enough for these destinations, whatever the symbols' addresses turn out to be. Sorts them.
pub fn capacity<S: Ord>(destinations: &mut [Destination<S>]) -> usize {
    destinations.sort_unstable();
    destinations.chunk_by(|a, b| a == b).count()
}

/// A row of slots in memory, and what each one serves. The memory itself is the caller's to write.
#[derive(Debug)]
pub struct SlotArea<'a, A> {
    at: Addr,
    targets: &'a mut [Option<Addr>],
    out_of_reach: bool,
    arch: PhantomData<A>,
}

/// A slot that serves a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its address.
    pub at: Addr,
    /// What is to be written there before anything uses it; `None` if the slot has served this target before.
    pub code: Option<Code>,
}

/// How a relocation was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// How many bytes from the place were affected.
    pub len: usize,
    /// The slot that it goes through.
    pub slot: Option<Slot>,
}

impl<'a, A: FarBranch + Relocate> SlotArea<'a, A> {
    /// An area at `at` with room for as many slots as `targets` has elements, all free.
    ///
    /// # Errors
    ///
    /// [`BranchError::Misaligned`] if `at` is.
    pub fn new(at: Addr, targets: &'a mut [Option<Addr>]) -> Result<SlotArea<'a, A>, BranchError> {
        targets.fill(None);
        SlotArea::resume(at, targets)
    }

    /// As [`new`](Self::new), but the slots serve what `targets` says.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn resume(at: Addr, targets: &'a mut [Option<Addr>]) -> Result<SlotArea<'a, A>, BranchError> {
        if !at.is_multiple_of(A::SLOT_ALIGN) {
            return Err(BranchError::Misaligned { addr: at });
        }
        Ok(SlotArea { at, targets, out_of_reach: false, arch: PhantomData })
    }

    /// From now on no branch to another object is in reach: for tests of what is done then.
    pub fn count_as_out_of_reach(&mut self) {
        self.out_of_reach = true;
    }

    /// The index of the slot at `at`.
    pub fn index(&self, at: Addr) -> Option<usize> {
        (0..self.targets.len()).find(|index| self.addr(*index) == at)
    }

    /// Bytes that `count` slots take.
    pub const fn size(count: usize) -> usize {
        count * A::SLOT_LEN
    }

    /// How many slots are in use.
    pub fn used(&self) -> usize {
        self.targets.iter().flatten().count()
    }

    fn addr(&self, index: usize) -> Addr {
        self.at + (index * A::SLOT_LEN) as u64
    }

    /// The slot that serves `target`: the one that does already, or a free one.
    ///
    /// # Errors
    ///
    /// [`RelocError::NoSlot`] if none is free, [`RelocError::Misaligned`] if no branch can go to `target`.
    pub fn slot(&mut self, target: Addr) -> Result<Slot, RelocError> {
        if let Some(index) = self.targets.iter().position(|used| *used == Some(target)) {
            return Ok(Slot { at: self.addr(index), code: None });
        }
        let planned = self.targets.len();
        let free = self.targets.iter().position(Option::is_none);
        let index = free.ok_or(RelocError::NoSlot { needed: planned + 1, planned })?;
        let at = self.addr(index);
        let code = A::slot(BranchKind::Call, at, target)
            .map_err(|_| RelocError::Misaligned(target.cast_signed()))?;
        self.targets[index] = Some(target);
        Ok(Slot { at, code: Some(code) })
    }

    /// Frees the slots whose targets are in an object that leaves. Nothing may branch to them any more.
    pub fn release(&mut self, gone: impl Fn(Addr) -> bool) {
        for target in self.targets.iter_mut() {
            if target.is_some_and(&gone) {
                *target = None;
            }
        }
    }

    /// Applies a relocation: a branch directly where it reaches, else through a slot; a reference to a literal by way of
    /// a slot's; anything else as [`Relocate::relocate`] does. `other_object`: the symbol is in another object than
    /// the place.
    ///
    /// # Errors
    ///
    /// [`RelocError`], whole: neither the code is changed nor a slot taken.
    pub fn relocate(
        &mut self,
        relocation: &Relocation,
        other_object: bool,
        code: &mut [u8],
    ) -> Result<Applied, RelocError> {
        let Relocation { r_type, symbol, addend, .. } = *relocation;
        match A::by_way(r_type) {
            ByWay::None => A::relocate(relocation, code).map(|len| Applied { len, slot: None }),
            ByWay::Literal => self.through(symbol, |slot| {
                let literal = slot + A::SLOT_LITERAL as u64;
                A::relocate(&Relocation { symbol: literal, ..*relocation }, code)
            }),
            ByWay::Slot { own } => {
                if !(other_object && (A::SLOT_BETWEEN_OBJECTS || self.out_of_reach)) {
                    match A::relocate(relocation, code) {
                        Err(RelocError::Overflow { .. }) => {}
                        direct => return direct.map(|len| Applied { len, slot: None }),
                    }
                }
                let target = symbol.wrapping_add_signed(addend.wrapping_sub(own));
                self.through(target, |slot| A::relocate_to_slot(relocation, slot, code))
            }
        }
    }

    /// Applies something by way of the slot that serves `target`.
    fn through(
        &mut self,
        target: Addr,
        apply: impl FnOnce(Addr) -> Result<usize, RelocError>,
    ) -> Result<Applied, RelocError> {
        let slot = self.slot(target)?;
        match apply(slot.at) {
            Ok(len) => Ok(Applied { len, slot: Some(slot) }),
            Err(error) => {
                // A slot that was taken for this alone.
                if slot.code.is_some() {
                    self.release(|used| used == target);
                }
                Err(error)
            }
        }
    }
}
