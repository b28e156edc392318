// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capability 2, second half: relocations of patch modules.

use core::fmt;

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
    /// A tail call to code with another TOC pointer: nothing would put the caller's back (ppc64).
    TailCall,
    /// Behind the call is no room for the instruction that puts the caller's TOC pointer back (ppc64), but this.
    NoRestore([u8; 4]),
    /// No slot is left.
    NoSlot {
        /// How many are needed so far, this one included.
        needed: usize,
        /// How many there are.
        planned: usize,
    },
}

/// What a [slot](crate::FarBranch) can do for relocations of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByWay {
    /// Nothing: the value is needed.
    None,
    /// It is a branch or call, and may go to a slot that continues at its destination.
    Slot {
        /// The addend of a branch to the symbol itself: from the address that the processor counts from to the place.
        own: i64,
    },
    /// It refers to a doubleword that holds the symbol's address, as a global offset table has it. A slot's literal is
    /// such a doubleword. [`Relocation::symbol`] is its address, not what it holds.
    Literal,
}

/// How an architecture's relocations are applied.
pub trait Relocate {
    /// The type of a doubleword that holds an address.
    const ABSOLUTE: u32;

    /// Whether a branch to another object goes through a slot even if it is in reach.
    const SLOT_BETWEEN_OBJECTS: bool = false;

    /// Applies `relocation` to `code`, the bytes at its place, as they lie in memory.
    ///
    /// Pure: nothing but `code` is written, and on an error nothing is. Returns how many bytes from the place were
    /// affected.
    ///
    /// # Errors
    ///
    /// [`RelocError`], whole: a relocation is never applied in part.
    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError>;

    /// The type's name in the ABI; `None` if it is unknown here.
    fn type_name(r_type: u32) -> Option<&'static str>;

    /// What a slot can do for relocations of this type.
    fn by_way(r_type: u32) -> ByWay;

    /// The type of a relocation that has the low half of an address whose high half is at another place.
    ///
    /// As compilers emit it, with the type `low`, its symbol is a label at that other place, where a relocation of type `high`
    /// names what both refer to. [`relocate`](Self::relocate) knows it as of the type that this gives: with the symbol of the
    /// high half, and the high half's addend to which the distance from the high half's place to its own is added. `None` if
    /// `low` is no such type, or does not go with `high`; nowhere, if not stated.
    fn low_half(low: u32, high: u32) -> Option<u32> {
        let _ = (low, high);
        None
    }

    /// Whether relocations of this type are branches that a slot may stand in for.
    fn is_branch(r_type: u32) -> bool {
        matches!(Self::by_way(r_type), ByWay::Slot { .. })
    }

    /// Applies a branch's relocation so that the branch enters `slot`, one for calls, whatever its symbol and addend are.
    /// As [`relocate`](Self::relocate), but it may write behind the branch, what the ABI asks for after a call to
    /// another object.
    ///
    /// # Errors
    ///
    /// [`RelocError`], whole; `UnknownType` if the type is no branch.
    fn relocate_to_slot(relocation: &Relocation, slot: Addr, code: &mut [u8]) -> Result<usize, RelocError> {
        let ByWay::Slot { own } = Self::by_way(relocation.r_type) else {
            return Err(RelocError::UnknownType(relocation.r_type));
        };
        Self::relocate(&Relocation { symbol: slot, addend: own, ..*relocation }, code)
    }
}

/// A relocation that was refused, as people are told. `N` is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<N> {
    /// The relocation.
    pub relocation: Relocation,
    /// The name of its type, if it is known.
    pub type_name: Option<&'static str>,
    /// Its symbol.
    pub name: N,
    /// Why.
    pub error: RelocError,
}

impl<N> Refused<N> {
    /// What `A` refused.
    pub fn new<A: Relocate>(relocation: Relocation, name: N, error: RelocError) -> Refused<N> {
        Refused { relocation, type_name: A::type_name(relocation.r_type), name, error }
    }
}

impl<N: AsRef<str>> fmt::Display for Refused<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Relocation { r_type, place, symbol, addend } = self.relocation;
        let distance = symbol.wrapping_add_signed(addend).wrapping_sub(place).cast_signed();
        let (sign, far) = (if distance < 0 { "-" } else { "" }, distance.unsigned_abs());
        match self.type_name {
            Some(name) => write!(f, "relocation {name}")?,
            None => write!(f, "relocation of type {r_type}")?,
        }
        let (plus, offset) = (if addend < 0 { "-" } else { "+" }, addend.unsigned_abs());
        write!(
            f,
            " at {place:#x} against symbol '{}'{plus}{offset:#x} ({symbol:#x}), distance {sign}{far:#x}: ",
            self.name.as_ref()
        )?;
        match self.error {
            RelocError::UnknownType(_) => {
                f.write_str("modules of this architecture have no such relocations")
            }
            RelocError::Overflow { value, bits } => {
                let sign = if value < 0 { "-" } else { "" };
                write!(f, "{sign}{:#x} does not fit into {bits} bits", value.unsigned_abs())
            }
            RelocError::Misaligned(value) => write!(f, "{value:#x} is not aligned"),
            RelocError::UnexpectedCode([a, b, c, d]) => {
                write!(f, "this is no instruction for it: {a:02x} {b:02x} {c:02x} {d:02x}")
            }
            RelocError::ShortCode => f.write_str("it is beyond the end of its section"),
            RelocError::TailCall => f.write_str(
                "a tail call to code with another TOC pointer: compile with -fno-optimize-sibling-calls",
            ),
            RelocError::NoRestore([a, b, c, d]) => write!(
                f,
                "behind the call is no nop to restore the TOC pointer in, but {a:02x} {b:02x} {c:02x} {d:02x}"
            ),
            RelocError::NoSlot { needed, planned } => {
                write!(f, "{needed} slots are needed, {planned} were planned")
            }
        }
    }
}

/// Declares relocation types as constants, and `name`, which gives a type's name: the prefix and the constant's.
#[macro_export]
macro_rules! reloc_types {
    ($prefix:literal: $($(#[$doc:meta])* $name:ident = $value:literal;)+) => {
        $($(#[$doc])* pub const $name: u32 = $value;)+

        /// The name of a type.
        pub const fn name(r_type: u32) -> Option<&'static str> {
            match r_type {
                $($name => Some(concat!($prefix, stringify!($name))),)+
                _ => None,
            }
        }
    };
}
