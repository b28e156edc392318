// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of kernel modules: what `apply_relocate_add` in `arch/arm64/kernel/module.c` knows (AAELF64,
//! "Relocation").
//!
//! And two that it does not know: gcc reads the address of a weak symbol that may be missing from memory, by `ADR_GOT_PAGE`
//! and `LD64_GOT_LO12_NC`. [`Relocation::symbol`] is then the address of the doubleword that holds it, and there is no
//! addend.
//!
//! Two kernel-side matters are the caller's: a branch out of reach goes through a slot, and on cores with erratum
//! 843419 the loader avoids an ADRP at the last two words of a page.

use klp_core::reloc::{ByWay, RelocError, Relocate, Relocation};

use crate::{Arm64, insn};

/// Relocation types (AAELF64, "Static AArch64 relocations").
mod r {
    klp_core::reloc_types! { "R_AARCH64_":
        NONE = 0;
        NONE_WITHDRAWN = 256;
        ABS64 = 257;
        ABS32 = 258;
        ABS16 = 259;
        PREL64 = 260;
        PREL32 = 261;
        PREL16 = 262;
        MOVW_UABS_G0 = 263;
        MOVW_UABS_G0_NC = 264;
        MOVW_UABS_G1 = 265;
        MOVW_UABS_G1_NC = 266;
        MOVW_UABS_G2 = 267;
        MOVW_UABS_G2_NC = 268;
        MOVW_UABS_G3 = 269;
        MOVW_SABS_G0 = 270;
        MOVW_SABS_G1 = 271;
        MOVW_SABS_G2 = 272;
        LD_PREL_LO19 = 273;
        ADR_PREL_LO21 = 274;
        ADR_PREL_PG_HI21 = 275;
        ADR_PREL_PG_HI21_NC = 276;
        ADD_ABS_LO12_NC = 277;
        LDST8_ABS_LO12_NC = 278;
        TSTBR14 = 279;
        CONDBR19 = 280;
        JUMP26 = 282;
        CALL26 = 283;
        LDST16_ABS_LO12_NC = 284;
        LDST32_ABS_LO12_NC = 285;
        LDST64_ABS_LO12_NC = 286;
        MOVW_PREL_G0 = 287;
        MOVW_PREL_G0_NC = 288;
        MOVW_PREL_G1 = 289;
        MOVW_PREL_G1_NC = 290;
        MOVW_PREL_G2 = 291;
        MOVW_PREL_G2_NC = 292;
        MOVW_PREL_G3 = 293;
        LDST128_ABS_LO12_NC = 299;
        ADR_GOT_PAGE = 311;
        LD64_GOT_LO12_NC = 312;
    }
}

/// Checks that `value` is a signed number of `bits` bits.
const fn signed(value: i64, bits: u32) -> Result<i64, RelocError> {
    let unused = 64 - bits;
    if value << unused >> unused == value { Ok(value) } else { Err(RelocError::Overflow { value, bits }) }
}

/// Checks that `value` is an unsigned number of `bits` bits.
const fn unsigned(value: i64, bits: u32) -> Result<i64, RelocError> {
    if value >> bits == 0 { Ok(value) } else { Err(RelocError::Overflow { value, bits }) }
}

/// Checks that the low `bits` bits of `value` are zero.
const fn aligned(value: i64, bits: u32) -> Result<i64, RelocError> {
    if value >> bits << bits == value { Ok(value) } else { Err(RelocError::Misaligned(value)) }
}

/// Bits `low` and up of `value`, `width` of them.
const fn field(value: i64, low: u32, width: u32) -> u32 {
    ((value.cast_unsigned() >> low) & ((1 << width) - 1) & 0xffff_ffff) as u32
}

/// Stores the low `N` bytes of `value`.
fn store<const N: usize>(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    let place: &mut [u8; N] = code.first_chunk_mut().ok_or(RelocError::ShortCode)?;
    for (byte, value) in place.iter_mut().zip(value.to_le_bytes()) {
        *byte = value;
    }
    Ok(N)
}

/// Replaces the bits `mask` of the instruction at the place by `bits`, if `belongs` says that the type fits it.
fn patch(code: &mut [u8], belongs: impl Fn(u32) -> bool, mask: u32, bits: u32) -> Result<usize, RelocError> {
    let old = insn(code, 0).ok_or(RelocError::ShortCode)?;
    if !belongs(old) {
        return Err(RelocError::UnexpectedCode(old.to_le_bytes()));
    }
    store::<4>(code, i64::from(old & !mask | bits))
}

/// How a MOVW group relocation treats its instruction and value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Movw {
    /// MOVZ or MOVK, left as it is; the value is unsigned and must fit into this group and those below.
    Unsigned,
    /// MOVZ or MOVK, left as it is; other groups hold the rest.
    Part,
    /// MOVZ or MOVN, whichever the sign of the value asks for.
    Signed,
}

/// Group `group` holds bits 16 × `group` and up (AAELF64, "Group relocations").
fn movw(code: &mut [u8], value: i64, group: u32, how: Movw) -> Result<usize, RelocError> {
    const OPC: u32 = 3 << 29;
    const MOVN: u32 = 0;
    const MOVZ: u32 = 2 << 29;
    const MOVK: u32 = 3 << 29;
    const IMM16: u32 = 0xffff << 5;

    let low = 16 * group;
    let is = |insn: u32, opcs: [u32; 2]| insn >> 23 & 0x3f == 0b10_0101 && opcs.contains(&(insn & OPC));
    if how == Movw::Signed {
        // Sixteen bits and the sign, which the choice of instruction holds; group 3 has all there are.
        let value = if group < 3 { signed(value, low + 17)? } else { value };
        let (opc, bits) = if value < 0 { (MOVN, !value) } else { (MOVZ, value) };
        return patch(code, |insn| is(insn, [MOVN, MOVZ]), OPC | IMM16, opc | field(bits, low, 16) << 5);
    }
    if how == Movw::Unsigned {
        unsigned(value, low + 16)?;
    }
    patch(code, |insn| is(insn, [MOVZ, MOVK]), IMM16, field(value, low, 16) << 5)
}

/// ADR or ADRP, told apart by `opcode`: 21 bits in two fields.
fn adr(code: &mut [u8], opcode: u32, imm: i64) -> Result<usize, RelocError> {
    let bits = field(imm, 0, 2) << 29 | field(imm, 2, 19) << 5;
    patch(code, |insn| insn & 0x9f00_0000 == opcode, 3 << 29 | 0x7_ffff << 5, bits)
}

/// A branch or literal load with `width` bits of word displacement from bit `at`.
fn displacement(
    code: &mut [u8],
    belongs: impl Fn(u32) -> bool,
    distance: i64,
    at: u32,
    width: u32,
) -> Result<usize, RelocError> {
    let distance = signed(aligned(distance, 2)?, width + 2)?;
    patch(code, belongs, ((1 << width) - 1) << at, field(distance, 2, width) << at)
}

/// The low twelve bits of an address, in a load or store whose access is of `1 << scale` bytes.
fn load_store(code: &mut [u8], value: i64, scale: u32) -> Result<usize, RelocError> {
    let low = aligned(value & 0xfff, scale).map_err(|_| RelocError::Misaligned(value))?;
    let belongs = |insn: u32| {
        let (size, is_vector, is_128) = (insn >> 30, insn >> 26 & 1 == 1, insn >> 23 & 1 == 1);
        let own = if is_vector && is_128 && size == 0 { 4 } else { size };
        insn & 0x3b00_0000 == 0x3900_0000 && own == scale
    };
    patch(code, belongs, 0xfff << 10, field(low, scale, 12 - scale) << 10)
}

impl Relocate for Arm64 {
    const ABSOLUTE: u32 = r::ABS64;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        let &Relocation { r_type, place, symbol, addend } = relocation;
        let target = symbol.wrapping_add_signed(addend);
        let value = target.cast_signed();
        let distance = target.wrapping_sub(place).cast_signed();
        let pages = (target & !0xfff).wrapping_sub(place & !0xfff).cast_signed();
        match r_type {
            r::NONE | r::NONE_WITHDRAWN => Ok(0),

            r::ABS64 => store::<8>(code, value),
            r::PREL64 => store::<8>(code, distance),
            // AAELF64 lets 32- and 16-bit values be signed or unsigned. The kernel's loader decides: absolute ones are
            // unsigned, relative ones signed.
            r::ABS32 => store::<4>(code, unsigned(value, 32)?),
            r::ABS16 => store::<2>(code, unsigned(value, 16)?),
            r::PREL32 => store::<4>(code, signed(distance, 32)?),
            r::PREL16 => store::<2>(code, signed(distance, 16)?),

            r::MOVW_UABS_G0 => movw(code, value, 0, Movw::Unsigned),
            r::MOVW_UABS_G1 => movw(code, value, 1, Movw::Unsigned),
            r::MOVW_UABS_G2 => movw(code, value, 2, Movw::Unsigned),
            r::MOVW_UABS_G0_NC => movw(code, value, 0, Movw::Part),
            r::MOVW_UABS_G1_NC => movw(code, value, 1, Movw::Part),
            r::MOVW_UABS_G2_NC => movw(code, value, 2, Movw::Part),
            r::MOVW_UABS_G3 => movw(code, value, 3, Movw::Part),
            r::MOVW_SABS_G0 => movw(code, value, 0, Movw::Signed),
            r::MOVW_SABS_G1 => movw(code, value, 1, Movw::Signed),
            r::MOVW_SABS_G2 => movw(code, value, 2, Movw::Signed),
            r::MOVW_PREL_G0 => movw(code, distance, 0, Movw::Signed),
            r::MOVW_PREL_G1 => movw(code, distance, 1, Movw::Signed),
            r::MOVW_PREL_G2 => movw(code, distance, 2, Movw::Signed),
            r::MOVW_PREL_G3 => movw(code, distance, 3, Movw::Signed),
            r::MOVW_PREL_G0_NC => movw(code, distance, 0, Movw::Part),
            r::MOVW_PREL_G1_NC => movw(code, distance, 1, Movw::Part),
            r::MOVW_PREL_G2_NC => movw(code, distance, 2, Movw::Part),

            r::ADR_PREL_LO21 => adr(code, 0x1000_0000, signed(distance, 21)?),
            r::ADR_PREL_PG_HI21 => adr(code, 0x9000_0000, signed(pages, 33)? >> 12),
            r::ADR_PREL_PG_HI21_NC => adr(code, 0x9000_0000, pages >> 12),

            // ADD (immediate) without a shift.
            r::ADD_ABS_LO12_NC => {
                patch(code, |insn| insn & 0x7fc0_0000 == 0x1100_0000, 0xfff << 10, field(value, 0, 12) << 10)
            }
            r::LDST8_ABS_LO12_NC => load_store(code, value, 0),
            r::LDST16_ABS_LO12_NC => load_store(code, value, 1),
            r::LDST32_ABS_LO12_NC => load_store(code, value, 2),
            r::LDST64_ABS_LO12_NC => load_store(code, value, 3),
            r::LDST128_ABS_LO12_NC => load_store(code, value, 4),

            // LDR, LDRSW, PRFM (literal).
            r::LD_PREL_LO19 => displacement(code, |insn| insn & 0x3b00_0000 == 0x1800_0000, distance, 5, 19),
            // TBZ, TBNZ.
            r::TSTBR14 => displacement(code, |insn| insn & 0x7e00_0000 == 0x3600_0000, distance, 5, 14),
            // B.cond, BC.cond; CBZ, CBNZ.
            r::CONDBR19 => {
                let belongs = |insn| insn & 0xff00_0000 == 0x5400_0000 || insn & 0x7e00_0000 == 0x3400_0000;
                displacement(code, belongs, distance, 5, 19)
            }
            r::ADR_GOT_PAGE | r::LD64_GOT_LO12_NC if addend != 0 => {
                Err(RelocError::Overflow { value: addend, bits: 0 })
            }
            r::ADR_GOT_PAGE => adr(code, 0x9000_0000, signed(pages, 33)? >> 12),
            r::LD64_GOT_LO12_NC => load_store(code, value, 3),

            r::JUMP26 => displacement(code, |insn| insn >> 26 == 0b00_0101, distance, 0, 26),
            r::CALL26 => displacement(code, |insn| insn >> 26 == 0b10_0101, distance, 0, 26),

            unknown => Err(RelocError::UnknownType(unknown)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        r::name(r_type)
    }

    fn by_way(r_type: u32) -> ByWay {
        match r_type {
            r::JUMP26 | r::CALL26 => ByWay::Slot { own: 0 },
            r::ADR_GOT_PAGE | r::LD64_GOT_LO12_NC => ByWay::Literal,
            _ => ByWay::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: u64 = 0xffff_8000_0101_0ff0;

    fn apply<const N: usize>(
        r_type: u32,
        symbol: u64,
        addend: i64,
        mut code: [u8; N],
    ) -> Result<[u8; N], RelocError> {
        let before = code;
        let relocation = Relocation { r_type, place: PLACE, symbol, addend };
        match Arm64::relocate(&relocation, &mut code) {
            Ok(_) => Ok(code),
            Err(error) => {
                assert_eq!(code, before, "changed by a relocation that failed");
                Err(error)
            }
        }
    }

    /// The instruction `insn` relocated.
    fn patched(r_type: u32, symbol: u64, insn: u32) -> Result<u32, RelocError> {
        apply(r_type, symbol, 0, insn.to_le_bytes()).map(u32::from_le_bytes)
    }

    fn overflow<T>(value: i64, bits: u32) -> Result<T, RelocError> {
        Err(RelocError::Overflow { value, bits })
    }

    #[test]
    fn data() {
        assert_eq!(apply(r::ABS64, PLACE, 2, [0; 8]), Ok((PLACE + 2).to_le_bytes()));
        assert_eq!(apply(r::ABS32, 0xffff_fffe, 1, [0; 4]), Ok([0xff; 4]));
        assert_eq!(apply(r::ABS32, 0, -1, [0; 4]), overflow(-1, 32));
        assert_eq!(apply(r::ABS16, 0xffff, 0, [0; 2]), Ok([0xff; 2]));
        assert_eq!(apply(r::ABS16, 0xffff, 1, [0; 2]), overflow(0x1_0000, 16));
        assert_eq!(apply(r::PREL64, PLACE, -8, [0; 8]), Ok((-8_i64).to_le_bytes()));
        assert_eq!(apply(r::PREL32, PLACE, -8, [0; 4]), Ok((-8_i32).to_le_bytes()));
        assert_eq!(apply(r::PREL32, PLACE, 1 << 31, [0; 4]), overflow(1 << 31, 32));
        assert_eq!(apply(r::PREL16, PLACE, -0x8000, [0; 2]), Ok([0, 0x80]));
        assert_eq!(apply(r::PREL16, PLACE, 0x8000, [0; 2]), overflow(0x8000, 16));
        assert_eq!(apply(r::ABS64, PLACE, 0, [0; 7]), Err(RelocError::ShortCode));
        assert_eq!(apply(999, PLACE, 0, [0; 8]), Err(RelocError::UnknownType(999)));
    }

    #[test]
    fn move_wide() {
        let (movz, movk, movn) = (0xd280_0001, 0xf280_0001, 0x9280_0001);
        assert_eq!(patched(r::MOVW_UABS_G0, 0xabcd, movz), Ok(movz | 0xabcd << 5));
        assert_eq!(patched(r::MOVW_UABS_G0, 0x1_abcd, movz), overflow(0x1_abcd, 16));
        assert_eq!(patched(r::MOVW_UABS_G0_NC, 0x1_abcd, movk), Ok(movk | 0xabcd << 5));
        assert_eq!(patched(r::MOVW_UABS_G2, 0x7_0000_0000, movk), Ok(movk | 7 << 5));
        assert_eq!(patched(r::MOVW_UABS_G3, 0xffff << 48, movz), Ok(movz | 0xffff << 5));
        assert_eq!(patched(r::MOVW_SABS_G0, 3, movn), Ok(movz | 3 << 5));
        assert_eq!(patched(r::MOVW_SABS_G0, 3_u64.wrapping_neg(), movz), Ok(movn | 2 << 5));
        assert_eq!(patched(r::MOVW_SABS_G0, 0x1_0000, movz), overflow(0x1_0000, 17));
        assert_eq!(patched(r::MOVW_PREL_G1, PLACE - 0x2_0000, movz), Ok(movn | 1 << 5));
        assert_eq!(patched(r::MOVW_PREL_G0_NC, PLACE - 1, movk), Ok(movk | 0xffff << 5));
        let add = 0x9100_0000_u32;
        let unexpected = Err(RelocError::UnexpectedCode(add.to_le_bytes()));
        assert_eq!(patched(r::MOVW_UABS_G0, 0, add), unexpected);
        assert_eq!(patched(r::MOVW_SABS_G0, 0, add), unexpected);
    }

    #[test]
    fn addresses() {
        assert_eq!(patched(r::ADR_PREL_LO21, PLACE + 5, 0x1000_0000), Ok(0x3000_0020));
        assert_eq!(patched(r::ADR_PREL_LO21, PLACE + 0x10_0000, 0x1000_0000), overflow(0x10_0000, 21));
        // The place is near its page's end: a symbol 16 bytes on is on the next page.
        assert_eq!(patched(r::ADR_PREL_PG_HI21, PLACE + 16, 0x9000_0000), Ok(0xb000_0000));
        assert_eq!(patched(r::ADR_PREL_PG_HI21, PLACE - 0x1000, 0x9000_0000), Ok(0xf0ff_ffe0));
        let far = PLACE + (1 << 32);
        assert_eq!(patched(r::ADR_PREL_PG_HI21, far, 0x9000_0000), overflow(1 << 32, 33));
        assert_eq!(patched(r::ADR_PREL_PG_HI21_NC, far, 0x9000_0000), Ok(0x9080_0000));
        assert_eq!(patched(r::ADD_ABS_LO12_NC, 0x1_2345, 0x9100_0000), Ok(0x910d_1400));
        let add_lsl12 = 0x9140_0000_u32;
        let unexpected = Err(RelocError::UnexpectedCode(add_lsl12.to_le_bytes()));
        assert_eq!(patched(r::ADD_ABS_LO12_NC, 0, add_lsl12), unexpected);
    }

    #[test]
    fn loads_and_stores_scale_with_their_size() {
        let symbol = 0x1_0ff0;
        assert_eq!(patched(r::LDST8_ABS_LO12_NC, symbol, 0x3940_0000), Ok(0x3940_0000 | 0xff0 << 10));
        assert_eq!(patched(r::LDST16_ABS_LO12_NC, symbol, 0x7940_0000), Ok(0x7940_0000 | 0x7f8 << 10));
        assert_eq!(patched(r::LDST32_ABS_LO12_NC, symbol, 0xb940_0000), Ok(0xb940_0000 | 0x3fc << 10));
        assert_eq!(patched(r::LDST64_ABS_LO12_NC, symbol, 0xf940_0000), Ok(0xf940_0000 | 0x1fe << 10));
        assert_eq!(patched(r::LDST128_ABS_LO12_NC, symbol, 0x3dc0_0000), Ok(0x3dc0_0000 | 0xff << 10));
        let odd = patched(r::LDST64_ABS_LO12_NC, symbol + 4, 0xf940_0000);
        assert_eq!(odd, Err(RelocError::Misaligned(0x1_0ff4)));
        let narrow = 0xb940_0000_u32;
        let unexpected = Err(RelocError::UnexpectedCode(narrow.to_le_bytes()));
        assert_eq!(patched(r::LDST64_ABS_LO12_NC, symbol, narrow), unexpected);
    }

    #[test]
    fn literals() {
        let literal = PLACE + 16;
        assert_eq!(patched(r::ADR_GOT_PAGE, literal, 0x9000_0000), Ok(0xb000_0000));
        assert_eq!(patched(r::LD64_GOT_LO12_NC, 0x1_0ff8, 0xf940_0000), Ok(0xf940_0000 | 0x1ff << 10));
        assert_eq!(
            patched(r::LD64_GOT_LO12_NC, 0x1_0ffc, 0xf940_0000),
            Err(RelocError::Misaligned(0x1_0ffc))
        );
        assert_eq!(apply(r::ADR_GOT_PAGE, literal, 8, 0x9000_0000_u32.to_le_bytes()), overflow(8, 0));
    }

    #[test]
    fn branches() {
        assert_eq!(patched(r::CALL26, PLACE - 4, 0x9400_0000), Ok(0x97ff_ffff));
        assert_eq!(patched(r::JUMP26, PLACE + 8, 0x1400_0000), Ok(0x1400_0002));
        assert_eq!(patched(r::CALL26, PLACE + 0x800_0000, 0x9400_0000), overflow(0x800_0000, 28));
        assert_eq!(patched(r::CALL26, PLACE + 2, 0x9400_0000), Err(RelocError::Misaligned(2)));
        let b = 0x1400_0000_u32;
        assert_eq!(patched(r::CALL26, PLACE, b), Err(RelocError::UnexpectedCode(b.to_le_bytes())));
        assert_eq!(patched(r::CONDBR19, PLACE - 4, 0x5400_0001), Ok(0x54ff_ffe1));
        assert_eq!(patched(r::CONDBR19, PLACE + 4, 0xb400_0003), Ok(0xb400_0023));
        assert_eq!(patched(r::CONDBR19, PLACE + 0x10_0000, 0xb400_0003), overflow(0x10_0000, 21));
        assert_eq!(patched(r::TSTBR14, PLACE + 4, 0x3608_0003), Ok(0x3608_0023));
        assert_eq!(patched(r::TSTBR14, PLACE + 0x8000, 0x3608_0003), overflow(0x8000, 16));
        assert_eq!(patched(r::LD_PREL_LO19, PLACE + 4, 0x5800_0003), Ok(0x5800_0023));
        assert!(Arm64::is_branch(r::CALL26) && Arm64::is_branch(r::JUMP26) && !Arm64::is_branch(r::CONDBR19));
    }
}
