// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of s390 modules (ELF ABI, "Relocation"; `arch/s390/kernel/module.c`).
//!
//! All absolute, PC-relative and PLT types that the kernel's module loader applies. Ranges are the loader's where the
//! ABI leaves a choice: absolute fields are unsigned except the 20-bit displacement, PC-relative ones are signed. The
//! ABI's table has L + A for PLT32; the loader subtracts the place, as it does for the other PLT types, and so does this.
//!
//! Modules are compiled with `-fPIC`, so gcc reads the address of every object of another module or of vmlinux from memory:
//! `lgrl %r1,symbol@GOTENT`. [`Relocation::symbol`] is for GOTENT and GOTPLTENT the address of the doubleword that holds
//! it. Types that count from the start of a global offset table, which there is none of, are
//! [`RelocError::UnknownType`]: GOT12 to GOT64, GOTPLT12 to GOTPLT64, GOTOFF, GOTPC, PLTOFF. gcc emits them for `-fpic`.

use klp_core::Relocate;
use klp_core::reloc::{ByWay, RelocError, Relocation};

use crate::S390;

/// Relocation types (ELF ABI, "Relocation Types").
pub mod r_type {
    klp_core::reloc_types! { "":
        /// Nothing is written.
        R_390_NONE = 0;
        /// S + A, a byte.
        R_390_8 = 1;
        /// S + A, the 12-bit displacement of an instruction.
        R_390_12 = 2;
        /// S + A, 16 bits.
        R_390_16 = 3;
        /// S + A, 32 bits.
        R_390_32 = 4;
        /// S + A − P, 32 bits.
        R_390_PC32 = 5;
        /// L + A − P, 32 bits. L is the symbol, or a slot for it.
        R_390_PLT32 = 8;
        /// S + A − P, 16 bits.
        R_390_PC16 = 16;
        /// (S + A − P) / 2, 16 bits.
        R_390_PC16DBL = 17;
        /// (L + A − P) / 2, 16 bits: the displacement of `brc`, `bras`.
        R_390_PLT16DBL = 18;
        /// (S + A − P) / 2, 32 bits: `larl` and other references in reach.
        R_390_PC32DBL = 19;
        /// (L + A − P) / 2, 32 bits: the displacement of `brcl`, `brasl`.
        R_390_PLT32DBL = 20;
        /// S + A, 64 bits.
        R_390_64 = 22;
        /// S + A − P, 64 bits.
        R_390_PC64 = 23;
        /// L + A − P, 64 bits.
        R_390_PLT64 = 25;
        /// (G + A − P) / 2, 32 bits: the displacement of `lgrl`, which reads a symbol's address from G.
        R_390_GOTENT = 26;
        /// The same for a function that is called through G.
        R_390_GOTPLTENT = 33;
        /// S + A, the 20-bit displacement of an instruction: 12 low bits, then 8 high bits.
        R_390_20 = 57;
    }
}

impl Relocate for S390 {
    const ABSOLUTE: u32 = r_type::R_390_64;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        use r_type::*;
        let absolute = relocation.symbol.wrapping_add_signed(relocation.addend);
        let relative = absolute.wrapping_sub(relocation.place).cast_signed();
        match relocation.r_type {
            R_390_NONE => Ok(0),
            R_390_8 => store(code, unsigned(absolute, 8)?, [0xff]),
            R_390_12 => store(code, unsigned(absolute, 12)?, [0x0f, 0xff]),
            R_390_16 => store(code, unsigned(absolute, 16)?, [0xff; 2]),
            R_390_32 => store(code, unsigned(absolute, 32)?, [0xff; 4]),
            R_390_64 => store(code, absolute, [0xff; 8]),
            R_390_20 => {
                let displacement = signed(absolute.cast_signed(), 20)?;
                // At the place lie: base register (4 bits), low part (12), high part (8), end of the opcode (8).
                let field = (displacement & 0xfff) << 16 | (displacement & 0xf_f000) >> 4;
                store(code, field, [0x0f, 0xff, 0xff, 0x00])
            }
            R_390_PC16 => store(code, signed(relative, 16)?, [0xff; 2]),
            R_390_PC16DBL | R_390_PLT16DBL => store(code, signed(halfwords(relative)?, 16)?, [0xff; 2]),
            R_390_PC32 | R_390_PLT32 => store(code, signed(relative, 32)?, [0xff; 4]),
            R_390_PC32DBL | R_390_PLT32DBL | R_390_GOTENT | R_390_GOTPLTENT => {
                store(code, signed(halfwords(relative)?, 32)?, [0xff; 4])
            }
            R_390_PC64 | R_390_PLT64 => store(code, relative.cast_unsigned(), [0xff; 8]),
            other => Err(RelocError::UnknownType(other)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        r_type::name(r_type)
    }

    fn by_way(r_type: u32) -> ByWay {
        use r_type::*;
        match r_type {
            // The displacement counts from the instruction's start, two bytes before it.
            R_390_PLT16DBL | R_390_PLT32DBL => ByWay::Slot { own: 2 },
            R_390_GOTENT | R_390_GOTPLTENT => ByWay::Literal,
            _ => ByWay::None,
        }
    }
}

/// Halfwords, of a distance in bytes.
fn halfwords(distance: i64) -> Result<i64, RelocError> {
    if distance & 1 == 0 { Ok(distance >> 1) } else { Err(RelocError::Misaligned(distance)) }
}

/// The value, if an unsigned field of so many bits holds it.
fn unsigned(value: u64, bits: u32) -> Result<u64, RelocError> {
    if value >> bits == 0 {
        Ok(value)
    } else {
        Err(RelocError::Overflow { value: value.cast_signed(), bits })
    }
}

/// The low bits of the value, if a signed field of so many bits holds it.
fn signed(value: i64, bits: u32) -> Result<u64, RelocError> {
    let sign = value >> (bits - 1);
    let fits = sign == 0 || sign == -1;
    if fits { Ok(value.cast_unsigned()) } else { Err(RelocError::Overflow { value, bits }) }
}

/// Stores the low bytes of `value` where `mask` has ones.
fn store<const N: usize>(code: &mut [u8], value: u64, mask: [u8; N]) -> Result<usize, RelocError> {
    let place: &mut [u8; N] = code.first_chunk_mut().ok_or(RelocError::ShortCode)?;
    let value = value.to_be_bytes();
    for ((byte, mask), new) in place.iter_mut().zip(mask).zip(&value[value.len() - N..]) {
        *byte = *byte & !mask | new & mask;
    }
    Ok(N)
}

#[cfg(test)]
mod tests {
    use super::r_type::*;
    use super::*;

    const PLACE: u64 = 0x3ff_e000_1002;

    /// Applies to `cc` bytes, and shows them.
    fn apply(r_type: u32, symbol: u64, addend: i64) -> (Result<usize, RelocError>, [u8; 9]) {
        let mut code = [0xcc; 9];
        let result = S390::relocate(&Relocation { r_type, place: PLACE, symbol, addend }, &mut code);
        (result, code)
    }

    fn written(bytes: &[u8]) -> (Result<usize, RelocError>, [u8; 9]) {
        let mut code = [0xcc; 9];
        code[..bytes.len()].copy_from_slice(bytes);
        (Ok(bytes.len()), code)
    }

    #[test]
    fn absolute_fields() {
        assert_eq!(apply(R_390_NONE, 1, 2), written(&[]));
        assert_eq!(apply(R_390_8, 0xf0, 0xf), written(&[0xff]));
        assert_eq!(apply(R_390_12, 0xabc, 0), written(&[0xca, 0xbc]), "the base register's four bits stay");
        assert_eq!(apply(R_390_16, 0xfff0, 0xf), written(&[0xff, 0xff]));
        assert_eq!(apply(R_390_20, 0x12345, 0), written(&[0xc3, 0x45, 0x12, 0xcc]), "low part first");
        assert_eq!(apply(R_390_20, 0, -2), written(&[0xcf, 0xfe, 0xff, 0xcc]));
        assert_eq!(apply(R_390_32, 0xffff_ff00, 0xff), written(&[0xff; 4]));
        assert_eq!(
            apply(R_390_64, 0x1122_3344_5566_7788, 0),
            written(&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88])
        );
    }

    #[test]
    fn relative_fields() {
        let symbol = PLACE + 0x1234;
        for r_type in [R_390_PC32DBL, R_390_PLT32DBL, R_390_GOTENT, R_390_GOTPLTENT] {
            // The addend 2 takes the place back to the instruction that it lies in.
            assert_eq!(apply(r_type, symbol, 2), written(&[0, 0, 0x09, 0x1b]));
            assert_eq!(apply(r_type, PLACE - 2, 2), written(&[0; 4]), "a branch to itself");
        }
        for r_type in [R_390_PC16DBL, R_390_PLT16DBL] {
            assert_eq!(apply(r_type, PLACE - 0x1_0000, 0), written(&[0x80, 0x00]));
        }
        assert_eq!(apply(R_390_PC16, PLACE - 1, 0), written(&[0xff, 0xff]), "no halfwords: may be odd");
        for r_type in [R_390_PC32, R_390_PLT32] {
            assert_eq!(apply(r_type, PLACE - 1, 0), written(&[0xff; 4]));
        }
        for r_type in [R_390_PC64, R_390_PLT64] {
            assert_eq!(apply(r_type, symbol, 0), written(&[0, 0, 0, 0, 0, 0, 0x12, 0x34]));
        }
    }

    #[test]
    fn limits_of_every_field() {
        let cases = [
            (R_390_8, 8, 0, 0xff, 1),
            (R_390_12, 12, 0, 0xfff, 1),
            (R_390_16, 16, 0, 0xffff, 1),
            (R_390_20, 20, -0x8_0000, 0x7_ffff, 1),
            (R_390_32, 32, 0, 0xffff_ffff, 1),
            (R_390_PC16, 16, -0x8000, 0x7fff, 1),
            (R_390_PC16DBL, 16, -0x8000, 0x7fff, 2),
            (R_390_PLT16DBL, 16, -0x8000, 0x7fff, 2),
            (R_390_PC32, 32, -0x8000_0000, 0x7fff_ffff, 1),
            (R_390_PLT32, 32, -0x8000_0000, 0x7fff_ffff, 1),
            (R_390_PC32DBL, 32, -0x8000_0000, 0x7fff_ffff, 2),
            (R_390_PLT32DBL, 32, -0x8000_0000, 0x7fff_ffff, 2),
        ];
        for (r_type, bits, min, max, unit) in cases {
            let base =
                if matches!(r_type, R_390_8 | R_390_12 | R_390_16 | R_390_20 | R_390_32) { 0 } else { PLACE };
            for fits in [min, max] {
                assert!(apply(r_type, base, fits * unit).0.is_ok(), "type {r_type}, {fits}");
            }
            for value in [min - 1, max + 1_i64] {
                let overflow = Err(RelocError::Overflow { value, bits });
                assert_eq!(apply(r_type, base, value * unit), (overflow, [0xcc; 9]), "type {r_type}");
            }
        }
    }

    #[test]
    fn half_a_halfword_is_refused() {
        for r_type in [R_390_PC16DBL, R_390_PLT16DBL, R_390_PC32DBL, R_390_PLT32DBL] {
            assert_eq!(apply(r_type, PLACE + 7, 0), (Err(RelocError::Misaligned(7)), [0xcc; 9]));
        }
    }

    #[test]
    fn unknown_types_and_short_code() {
        // GOT12, GOT32, COPY, GLOB_DAT, GOTOFF32, GOTPC, GOT64, GOT20.
        for r_type in [6, 7, 9, 10, 13, 14, 24, 58] {
            assert_eq!(apply(r_type, 0, 0), (Err(RelocError::UnknownType(r_type)), [0xcc; 9]));
        }
        let relocation = Relocation { r_type: R_390_64, place: PLACE, symbol: 0, addend: 0 };
        let mut short = [0xcc; 7];
        assert_eq!(S390::relocate(&relocation, &mut short), Err(RelocError::ShortCode));
        assert_eq!(short, [0xcc; 7]);
        assert!(S390::is_branch(R_390_PLT32DBL) && !S390::is_branch(R_390_PC32DBL));
    }
}
