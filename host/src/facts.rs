// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an architecture's crate states, for code that learns which architecture it is about when it runs: the fields of
//! [`klp_core::Architecture`] that host tools ask for, and its functions, instantiated.

use anyhow::Result;
use klp_core::reloc::{RelocError, Relocation};
use klp_core::slots::{self, Destination, SlotArea};
use klp_core::stated::Fact;
use klp_core::unwind::Bounds;
use klp_core::{Addr, Architecture, Endian};
use object::Endianness;
use object::read::elf::ElfFile64;

use crate::patchable;

/// Applies a relocation to the bytes at its place.
type Apply = fn(&Relocation, &mut [u8], Addr, &mut [Option<Addr>]) -> Result<(), RelocError>;

/// The functions of a module, and whether each has room.
type Entries = fn(&ElfFile64<'_, Endianness>) -> Result<Option<Vec<patchable::Entry>>>;

/// What an architecture's crate states.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What is not stated of it yet, here or in its entry of a table.
    pub unstated: &'static [Fact],
    /// The ELF machine (`e_machine`) of its modules.
    pub elf_machine: u16,
    /// The byte order of its data.
    pub endian: Endian,
    /// The relocation type of a doubleword that holds an address.
    pub(crate) absolute: u32,
    /// Bytes that a slot takes.
    pub(crate) slot_len: usize,
    /// Where its kernels have entry code, and ftrace's trampolines, if not where others have them.
    pub(crate) entry_text: &'static [Bounds],
    pub(crate) ftrace_text: &'static [Bounds],
    /// The name of a type; `None` if modules of the architecture have no such relocations.
    pub(crate) type_name: fn(u32) -> Option<&'static str>,
    /// How many slots are enough for these relocations: type, symbol and addend of each.
    pub(crate) capacity: fn(&[(u32, usize, i64)]) -> usize,
    /// Whether a slot may stand in for a relocation of that type.
    pub(crate) is_branch: fn(u32) -> bool,
    /// The type of a relocation that has the low half of what another has the high half of, by the types of both.
    pub(crate) low_half: fn(u32, u32) -> Option<u32>,
    /// Applies a relocation against another object's symbol to the bytes at its place, as `klp.ko` does. The slots are at that
    /// address, and lead where the slice says.
    pub(crate) apply: Apply,
    /// The functions of a module that was compiled with room for slots.
    pub(crate) entries: Entries,
}

impl Facts {
    /// What `A` states.
    pub const fn of<A: Architecture>() -> Facts {
        Facts {
            unstated: A::UNSTATED,
            elf_machine: A::ELF_MACHINE,
            endian: A::ENDIAN,
            absolute: A::ABSOLUTE,
            slot_len: A::SLOT_LEN,
            entry_text: A::ENTRY_TEXT,
            ftrace_text: A::FTRACE_TEXT,
            type_name: A::type_name,
            is_branch: A::is_branch,
            low_half: A::low_half,
            capacity: |relocations| {
                let mut found: Vec<Destination<usize>> =
                    slots::destinations::<A, _>(relocations.iter().copied()).collect();
                slots::capacity(&mut found)
            },
            apply: |relocation, code, slots_at, targets| {
                let misaligned = |_| RelocError::Misaligned(slots_at.cast_signed());
                let mut slots = SlotArea::<A>::resume(slots_at, targets).map_err(misaligned)?;
                slots.relocate(relocation, true, code).map(|_| ())
            },
            entries: patchable::of::<A>,
        }
    }
}
