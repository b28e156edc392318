// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of x86_64 modules (psABI §4.4, "Relocation").
//!
//! The types are those that the kernel's module loader applies (`arch/x86/kernel/module.c`), which are all that gcc
//! emits with `-mcmodel=kernel`; and the GOTPCREL family, which compilers emit for what they take for position-independent
//! code. [`Relocation::symbol`] is for those the address of the doubleword that holds the symbol's address. Unlike the
//! loader, PC32 and PLT32 are checked for overflow.

use klp_core::Relocate;
use klp_core::reloc::{ByWay, RelocError, Relocation};

use crate::X86_64;

/// Relocation types (psABI §4.4.1, "Relocation Types").
pub mod r_type {
    klp_core::reloc_types! { "":
    /// Nothing is written.
    R_X86_64_NONE = 0;
    /// S + A, 64 bits.
    R_X86_64_64 = 1;
    /// S + A − P, signed 32 bits: data and code in reach.
    R_X86_64_PC32 = 2;
    /// L + A − P, signed 32 bits: the displacement of a call or jump. L is the symbol, or a slot for it.
    R_X86_64_PLT32 = 4;
    /// G + A − P, signed 32 bits: the operand of an instruction that reads a symbol's address from G.
    R_X86_64_GOTPCREL = 9;
    /// S + A, 32 bits that are zero extended.
    R_X86_64_32 = 10;
    /// S + A, 32 bits that are sign extended.
    R_X86_64_32S = 11;
    /// S + A − P, 64 bits.
    R_X86_64_PC64 = 24;
    /// GOTPCREL in an instruction that a linker may rewrite.
    R_X86_64_GOTPCRELX = 41;
    /// The same, with a REX prefix.
    R_X86_64_REX_GOTPCRELX = 42;
    }
}

impl Relocate for X86_64 {
    const ABSOLUTE: u32 = r_type::R_X86_64_64;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        use r_type::*;
        let absolute = relocation.symbol.wrapping_add_signed(relocation.addend);
        let relative = absolute.wrapping_sub(relocation.place).cast_signed();
        let overflow = |value: i64| RelocError::Overflow { value, bits: 32 };
        match relocation.r_type {
            R_X86_64_NONE => Ok(0),
            R_X86_64_64 => store(code, absolute.to_le_bytes()),
            R_X86_64_PC64 => store(code, relative.to_le_bytes()),
            R_X86_64_32 => {
                let value = u32::try_from(absolute).map_err(|_| overflow(absolute.cast_signed()))?;
                store(code, value.to_le_bytes())
            }
            R_X86_64_32S => {
                let value = absolute.cast_signed();
                store(code, i32::try_from(value).map_err(|_| overflow(value))?.to_le_bytes())
            }
            R_X86_64_PC32
            | R_X86_64_PLT32
            | R_X86_64_GOTPCREL
            | R_X86_64_GOTPCRELX
            | R_X86_64_REX_GOTPCRELX => {
                store(code, i32::try_from(relative).map_err(|_| overflow(relative))?.to_le_bytes())
            }
            other => Err(RelocError::UnknownType(other)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        r_type::name(r_type)
    }

    /// Of branches PLT32 only. PC32 may be one too (assemblers before binutils 2.31 used it for calls), but cannot be told
    /// from a reference to data.
    fn by_way(r_type: u32) -> ByWay {
        use r_type::*;
        match r_type {
            // The processor counts from the end of the displacement, which ends every branch.
            R_X86_64_PLT32 => ByWay::Slot { own: -4 },
            R_X86_64_GOTPCREL | R_X86_64_GOTPCRELX | R_X86_64_REX_GOTPCRELX => ByWay::Literal,
            _ => ByWay::None,
        }
    }
}

/// Stores the bytes of a field. Fields have no alignment on this architecture.
fn store<const N: usize>(code: &mut [u8], bytes: [u8; N]) -> Result<usize, RelocError> {
    *code.first_chunk_mut().ok_or(RelocError::ShortCode)? = bytes;
    Ok(N)
}

#[cfg(test)]
mod tests {
    use super::r_type::*;
    use super::*;

    const PLACE: u64 = 0xffff_ffff_c012_3001;

    /// Applies to `cc` bytes, and shows them.
    fn apply(r_type: u32, symbol: u64, addend: i64) -> (Result<usize, RelocError>, [u8; 9]) {
        let mut code = [0xcc; 9];
        let result = X86_64::relocate(&Relocation { r_type, place: PLACE, symbol, addend }, &mut code);
        (result, code)
    }

    #[test]
    fn each_type_writes_its_field_and_nothing_behind_it() {
        let symbol = 0xffff_ffff_8100_0010;
        let cc4 = |bytes: [u8; 4]| [bytes[0], bytes[1], bytes[2], bytes[3], 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];
        assert_eq!(apply(R_X86_64_NONE, symbol, 0), (Ok(0), [0xcc; 9]));
        assert_eq!(apply(R_X86_64_64, symbol, 2), (Ok(8), [0x12, 0, 0, 0x81, 0xff, 0xff, 0xff, 0xff, 0xcc]));
        assert_eq!(apply(R_X86_64_32S, symbol, -1), (Ok(4), cc4([0x0f, 0, 0, 0x81])));
        assert_eq!(apply(R_X86_64_32, 0x8100_0010, 0), (Ok(4), cc4([0x10, 0, 0, 0x81])));
        // 0x81000010 - 4 - 0xc0123001 = -0x3f122ff5
        let gotpcrel = [R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX];
        for r_type in [R_X86_64_PC32, R_X86_64_PLT32].into_iter().chain(gotpcrel) {
            assert_eq!(apply(r_type, symbol, -4), (Ok(4), cc4([0x0b, 0xd0, 0xed, 0xc0])));
        }
        assert_eq!(
            apply(R_X86_64_PC64, symbol, -4),
            (Ok(8), [0x0b, 0xd0, 0xed, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xcc])
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_whole() {
        let cases = [
            (R_X86_64_32, 0x1_0000_0000, 0x1_0000_0000),
            (R_X86_64_32, 0xffff_ffff_8000_0000, -0x8000_0000),
            (R_X86_64_32S, 0x8000_0000, 0x8000_0000),
            (R_X86_64_32S, 0xffff_ffff_7fff_ffff, -0x8000_0001),
            (R_X86_64_PC32, PLACE.wrapping_add(0x8000_0000), 0x8000_0000),
            (R_X86_64_PLT32, PLACE - 0x8000_0001, -0x8000_0001),
        ];
        for (r_type, symbol, value) in cases {
            let overflow = Err(RelocError::Overflow { value, bits: 32 });
            assert_eq!(apply(r_type, symbol, 0), (overflow, [0xcc; 9]));
        }
        assert_eq!(apply(R_X86_64_PLT32, PLACE.wrapping_add(0x7fff_ffff), 0).0, Ok(4));
        assert_eq!(apply(R_X86_64_PC32, PLACE - 0x8000_0000, 0).0, Ok(4));
    }

    #[test]
    fn unknown_types_and_short_code() {
        // GOT32, COPY, GLOB_DAT, TPOFF32.
        for r_type in [3, 5, 6, 23] {
            assert_eq!(apply(r_type, 0, 0), (Err(RelocError::UnknownType(r_type)), [0xcc; 9]));
        }
        let relocation = Relocation { r_type: R_X86_64_64, place: PLACE, symbol: 0, addend: 0 };
        let mut short = [0xcc; 7];
        assert_eq!(X86_64::relocate(&relocation, &mut short), Err(RelocError::ShortCode));
        assert_eq!(short, [0xcc; 7]);
        assert!(X86_64::is_branch(R_X86_64_PLT32) && !X86_64::is_branch(R_X86_64_PC32));
    }
}
