// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the architecture crates know of relocations, chosen by the machine that a file is for.

use klp_core::reloc::{RelocError, Relocation};
use klp_core::slots::{self, Destination, SlotArea};
use klp_core::{Addr, FarBranch, Relocate};
use object::elf::{
    EM_AARCH64, EM_PPC64, EM_S390, EM_X86_64, R_390_64, R_AARCH64_ABS64, R_PPC64_ADDR64, R_X86_64_64,
};

/// Applies a relocation to the bytes at its place.
type Apply = fn(&Relocation, &mut [u8], Addr, &mut [Option<Addr>]) -> Result<(), RelocError>;

/// An architecture's relocations.
pub(crate) struct Facts {
    /// A doubleword that holds an address.
    pub(crate) absolute: u32,
    /// Bytes that a slot takes.
    pub(crate) slot_len: usize,
    /// The name of a type; `None` if modules of the architecture have no such relocations.
    pub(crate) type_name: fn(u32) -> Option<&'static str>,
    /// How many slots are enough for these relocations: type, symbol and addend of each.
    pub(crate) capacity: fn(&[(u32, usize, i64)]) -> usize,
    /// Whether a slot may stand in for a relocation of that type.
    pub(crate) is_branch: fn(u32) -> bool,
    /// Applies a relocation against another object's symbol to the bytes at its place, as `klp.ko` does. The slots are at that
    /// address, and lead where the slice says.
    pub(crate) apply: Apply,
}

impl Facts {
    /// What is known of an ELF machine; `None` if nothing is.
    pub(crate) fn for_machine(machine: u16) -> Option<Facts> {
        match machine {
            EM_X86_64 => Some(Facts::of::<klp_arch_x86_64::X86_64>(R_X86_64_64)),
            EM_AARCH64 => Some(Facts::of::<klp_arch_arm64::Arm64>(R_AARCH64_ABS64)),
            EM_PPC64 => Some(Facts::of::<klp_arch_ppc64::Ppc64>(R_PPC64_ADDR64)),
            EM_S390 => Some(Facts::of::<klp_arch_s390::S390>(R_390_64)),
            _ => None,
        }
    }

    fn of<A: FarBranch + Relocate>(absolute: u32) -> Facts {
        Facts {
            absolute,
            slot_len: A::SLOT_LEN,
            type_name: A::type_name,
            is_branch: A::is_branch,
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
        }
    }
}
