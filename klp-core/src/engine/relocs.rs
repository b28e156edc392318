// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Applying a patch's own relocations, and taking them back.
//!
//! Those against symbols of vmlinux are applied before anything of the patch can run, those against a module's when that
//! module is there, before its functions are patched. All of an object's are resolved and computed before the first byte is
//! written, and written in one go, which happens whole or not at all.

use crate::branch::Code;
use crate::engine::Result;
use crate::error::Error;
use crate::patch::{Object, Patch};
use crate::patch_relocs::{Anchor, MAX_PLACE, Reference, Relocations, Symbol, Was};
use crate::platform::{Level, List, Platform, Write};
use crate::reloc::{Refused, RelocError, Relocation};
use crate::slots::SlotArea;
use crate::{Addr, FarBranch};

/// Checks what can be checked without the kernel: that a symbol's object is one that the patch changes. Code that refers to
/// the symbols of other modules could run while those are not there.
pub(super) fn check<P: Platform>(patch: &Patch<P>) -> Result<(), P> {
    let Relocations { symbols, references, slots_at, .. } = &patch.relocations;
    for symbol in symbols.iter() {
        let Some(object) = symbol.object else { continue };
        let named =
            |known: &Object<P>| known.name.as_ref().is_some_and(|name| name.as_ref() == object.as_ref());
        if !patch.objects.iter().any(named) {
            return Err(Error::SymbolOfOtherObject { object, symbol: symbol.name });
        }
    }
    let known = |reference: &Reference| (reference.symbol as usize) < symbols.len();
    if !references.iter().all(known) || !slots_at.is_multiple_of(P::Arch::SLOT_ALIGN) {
        return Err(Error::BadRelocations);
    }
    // A place goes back to what it held before a module came. Of two that add to it, either may go first.
    let symbol = |reference: &Reference| &symbols[reference.symbol as usize];
    let of_modules = || references.iter().filter(|reference| symbol(reference).object.is_some());
    for one in of_modules() {
        let same_place = |other: &&Reference| {
            other.place == one.place && !is_of(symbol(other), symbol(one).object.as_ref().map(AsRef::as_ref))
        };
        if let Some(other) = of_modules().find(same_place) {
            return Err(Error::PlaceOfTwoModules { symbol: symbol(one).name, other: symbol(other).name });
        }
    }
    Ok(())
}

fn is_of<P: Platform>(symbol: &Symbol<P>, object: Option<&str>) -> bool {
    symbol.object.as_ref().map(AsRef::as_ref) == object
}

/// Applies the relocations against symbols of an object that is there, unless they are applied.
///
/// # Errors
///
/// The first symbol that is not found, the first relocation that cannot be applied, or [`Error::NoMemory`]. Nothing was
/// written then.
pub(super) fn apply<P: Platform>(
    platform: &P,
    relocations: &mut Relocations<P>,
    object: Option<&str>,
) -> Result<(), P> {
    let pending = |symbol: &Symbol<P>| is_of(symbol, object) && symbol.addr.is_none();
    if !relocations.symbols.iter().any(pending) {
        return Ok(());
    }
    let mut new = P::List::<(usize, Addr)>::default();
    for (index, symbol) in relocations.symbols.iter().enumerate().filter(|(_, symbol)| pending(symbol)) {
        new.try_push((index, find(platform, symbol)?))?;
    }
    let Relocations { symbols, references, slots_at, targets } = relocations;
    let mut pass = Pass { platform, writes: P::List::default(), applied: P::List::default() };
    let written = pass
        .compute(symbols, references, &new, *slots_at, targets)
        .and_then(|()| Ok(platform.write_patch(&pass.writes)?));
    if let Err(error) = written {
        for (_, was) in pass.applied.iter() {
            release(targets, was, |index| !is_used(references, index));
        }
        return Err(error);
    }
    for (index, was) in pass.applied.iter() {
        references[*index].was = Some(*was);
    }
    for (index, addr) in new.iter() {
        symbols[*index].addr = Some(*addr);
    }
    Ok(())
}

/// Takes the relocations against symbols of an object back: the places hold what they held before.
pub(super) fn clear<P: Platform>(platform: &P, relocations: &mut Relocations<P>, object: Option<&str>) {
    let Relocations { symbols, references, targets, .. } = relocations;
    let of = |reference: &Reference| {
        let symbol = &symbols[reference.symbol as usize];
        is_of(symbol, object) && symbol.addr.is_some()
    };
    if !references.iter().any(of) {
        return;
    }
    let mut writes = P::List::<Write>::default();
    let mut collected = Ok(());
    for reference in references.iter().filter(|reference| of(reference)) {
        if let (Some(was), Ok(())) = (&reference.was, collected) {
            let code = Code::new(&was.bytes[..was.len]);
            collected = writes.try_push(Write { at: reference.place, code });
        }
    }
    let cleared = collected.and_then(|()| platform.write_patch(&writes)).is_ok();
    if !cleared {
        // Nothing runs there while the object is gone; what the places held is known for when it comes back.
        let object = object.unwrap_or("vmlinux");
        platform
            .log(Level::Hint, format_args!("no memory to clear relocations against symbols of '{object}'"));
    }
    for reference in references.iter_mut() {
        let symbol = &symbols[reference.symbol as usize];
        if !is_of(symbol, object) || symbol.addr.is_none() {
            continue;
        }
        if let Some(was) = &mut reference.was
            && let Some(slot) = was.slot.take()
        {
            targets[slot] = None;
        }
        if cleared {
            reference.was = None;
        }
    }
    for symbol in symbols.iter_mut().filter(|symbol| is_of(symbol, object)) {
        symbol.addr = None;
    }
}

/// Whether a reference that is applied goes through this slot.
fn is_used(references: &[Reference], slot: usize) -> bool {
    references.iter().any(|reference| reference.was.is_some_and(|was| was.slot == Some(slot)))
}

fn release(targets: &mut [Option<Addr>], was: &Was, free: impl Fn(usize) -> bool) {
    if let Some(slot) = was.slot.filter(|slot| free(*slot)) {
        targets[slot] = None;
    }
}

/// What is about to be written for an object.
struct Pass<'a, P: Platform> {
    platform: &'a P,
    writes: P::List<Write>,
    /// By the index of the reference.
    applied: P::List<(usize, Was)>,
}

impl<P: Platform> Pass<'_, P> {
    /// Computes everything; `new` are the symbols, by index, and their addresses.
    fn compute(
        &mut self,
        symbols: &[Symbol<P>],
        references: &[Reference],
        new: &[(usize, Addr)],
        slots_at: Addr,
        targets: &mut [Option<Addr>],
    ) -> Result<(), P> {
        let mut area = SlotArea::<P::Arch>::resume(slots_at, targets).map_err(|_| Error::BadRelocations)?;
        if self.platform.out_of_reach() {
            area.count_as_out_of_reach();
        }
        for (index, reference) in references.iter().enumerate() {
            let Some((_, addr)) = new.iter().find(|(symbol, _)| *symbol == reference.symbol as usize) else {
                continue;
            };
            self.relocate(&mut area, index, reference, *addr).map_err(|error| match error {
                Failed::Refused(relocation, error) => {
                    let name = symbols[reference.symbol as usize].name;
                    Error::Relocation(Refused::new::<P::Arch>(relocation, name, error))
                }
                Failed::NoMemory => Error::NoMemory,
            })?;
        }
        Ok(())
    }

    fn relocate(
        &mut self,
        area: &mut SlotArea<'_, P::Arch>,
        index: usize,
        reference: &Reference,
        symbol: Addr,
    ) -> core::result::Result<(), Failed> {
        let Reference { place, r_type, addend, room, .. } = *reference;
        let relocation = Relocation { r_type, place, symbol, addend };
        let refused = |error| Failed::Refused(relocation, error);
        let mut before = [0; MAX_PLACE];
        let room = usize::try_from(room).map_or(MAX_PLACE, |room| room.min(MAX_PLACE));
        match &reference.was {
            // It could not be cleared when the object left.
            Some(was) => before[..was.len].copy_from_slice(&was.bytes[..was.len]),
            None if self.platform.read_text(place, &mut before[..room]) => {}
            None => return Err(refused(RelocError::ShortCode)),
        }
        let mut code = before;
        self.read_pending(place, &mut code[..room]);
        // A slot that is taken must not be lost.
        self.applied.try_reserve(1).map_err(|_| Failed::NoMemory)?;
        self.writes.try_reserve(2).map_err(|_| Failed::NoMemory)?;
        let applied = area.relocate(&relocation, true, &mut code[..room]).map_err(refused)?;
        let slot = applied.slot.and_then(|slot| area.index(slot.at));
        let was = Was { bytes: before, len: applied.len, slot };
        self.applied.try_push((index, was)).map_err(|_| Failed::NoMemory)?;
        let slot = applied.slot.and_then(|slot| Some(Write { at: slot.at, code: slot.code? }));
        let place = Write { at: place, code: Code::new(&code[..applied.len]) };
        for write in slot.into_iter().chain([place]) {
            self.writes.try_push(write).map_err(|_| Failed::NoMemory)?;
        }
        Ok(())
    }

    /// Of several relocations of one place, as the two of a difference are, each begins with what the one before has made of it.
    fn read_pending(&self, place: Addr, code: &mut [u8]) {
        let ends = |at: Addr, code: &[u8]| at.wrapping_add(code.len() as u64);
        let end = ends(place, code);
        let meets = |write: &&Write| write.at < end && place < ends(write.at, write.code.as_bytes());
        for Write { at, code: pending } in self.writes.iter().filter(meets) {
            for (addr, byte) in (*at..).zip(pending.as_bytes()) {
                let offset = addr.checked_sub(place).and_then(|offset| usize::try_from(offset).ok());
                if let Some(held) = offset.and_then(|offset| code.get_mut(offset)) {
                    *held = *byte;
                }
            }
        }
    }
}

enum Failed {
    Refused(Relocation, RelocError),
    NoMemory,
}

/// Finds the one symbol that is meant, as `klp_find_object_symbol` in `kernel/livepatch/core.c` defines it; or, if the symbol
/// table does not list it, where its anchor says.
fn find<P: Platform>(platform: &P, symbol: &Symbol<P>) -> Result<Addr, P> {
    let Symbol { object, name, position, anchor, .. } = *symbol;
    let (found, count) = look_up(platform, object, name, position);
    match found {
        Some(_) if position == 0 && count > 1 => {
            Err(Error::ReferenceAmbiguous { object, symbol: name, count })
        }
        Some(addr) => Ok(addr),
        None if count == 0 && anchor.is_some() => anchored(platform, name, anchor),
        None => Err(Error::ReferenceNotFound {
            object,
            symbol: name,
            position,
            count,
            lists_data: platform.lists_data(),
        }),
    }
}

/// The symbol at a position, and how many there are as far as it matters.
fn look_up<P: Platform>(
    platform: &P,
    object: Option<P::Name>,
    name: P::Name,
    position: u64,
) -> (Option<Addr>, u64) {
    let (mut count, mut found) = (0, None);
    platform.for_each_symbol_of_any_kind(object, name, &mut |addr| {
        count += 1;
        if count == position.max(1) {
            found = Some(addr);
        }
        position == 0 || found.is_none()
    });
    (found, count)
}

fn anchored<P: Platform>(platform: &P, symbol: P::Name, anchor: Option<Anchor<P::Name>>) -> Result<Addr, P> {
    let Some(Anchor { anchor, offset, witness, distance }) = anchor else {
        return Err(Error::BadRelocations);
    };
    let other = Error::OtherVmlinux { symbol, anchor, witness };
    match (look_up(platform, None, anchor, 0), look_up(platform, None, witness, 0)) {
        ((Some(from), 1), (Some(to), 1)) if from.wrapping_add_signed(distance) == to => {
            Ok(from.wrapping_add_signed(offset))
        }
        _ => Err(other),
    }
}
