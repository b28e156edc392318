// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capability 2, second half: relocations of patch modules.

use crate::Addr;

/// One relocation, ready to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// The ELF relocation type (`ELF64_R_TYPE`) of the architecture's ABI.
    pub r_type: u32,
    /// Run-time address of the place to be written (P in the ABIs' formulas).
    pub place: Addr,
    /// Run-time value of the symbol (S).
    pub symbol: u64,
    /// The explicit addend (A).
    pub addend: i64,
}

/// Why a relocation cannot be applied. The bytes are then as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocError {
    /// This architecture's loader knows no such type.
    UnknownType(u32),
    /// The value does not fit into the field.
    Overflow {
        /// The value that should have been stored.
        value: i64,
        /// Width of the field in bits, scaling included.
        bits: u32,
    },
    /// The value or the place is not aligned as the field requires.
    Misaligned(i64),
    /// The bytes at the place are not the instruction that the type belongs to.
    UnexpectedCode([u8; 4]),
    /// Fewer bytes were given than the type writes.
    ShortCode,
}

/// How an architecture's relocations are applied.
pub trait Relocate {
    /// Applies `relocation` to `code`, the bytes at its place, as they lie in memory.
    ///
    /// Pure: nothing but `code` is written, and on an error nothing is. Returns how many bytes from the place were
    /// affected.
    ///
    /// # Errors
    ///
    /// [`RelocError`], whole: a relocation is never applied in part.
    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError>;

    /// Whether relocations of this type are branches that a veneer may stand in for.
    fn is_branch(r_type: u32) -> bool;
}
