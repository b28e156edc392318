// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of kernel modules: what `apply_relocate_add` in `arch/riscv/kernel/module.c` knows (RISC-V psABI, "Relocations").
//!
//! | type | how it differs from the loader's |
//! |---|---|
//! | `PCREL_LO12_I`, `PCREL_LO12_S` | given with the high half's symbol ([`Relocate::low_half`]); the loader searches for the high half |
//! | `GOT_HI20`, and the low half of it | [`Relocation::symbol`] is the address of the doubleword that holds the symbol's |
//! | `BRANCH`, `JAL`, `RVC_BRANCH`, `RVC_JUMP`, `HI20`, `32_PCREL` | what does not fit is refused; the loader cuts it off |
//! | `SET_ULEB128`, `SUB_ULEB128` | unknown: half of a pair has no encoding of its own, and the other half is the loader's |
//! | `PLT32` | unknown: binutils 2.40, which would be asked what it means, does not know it |
//!
//! `ALIGN` is unknown to the loader too: it is the linker's, and modules are compiled with `-mno-relax`. `ADD*` and `SUB*` change
//! what is at the place, so that a pair adds up, whoever applies which; nothing has to fit between the two, and what does not is
//! cut off.

use klp_core::Relocate;
use klp_core::reloc::{ByWay, RelocError, Relocation};

use crate::Riscv64;

/// Relocation types (psABI, "Relocations", "Relocation types").
pub mod r_type {
    klp_core::reloc_types! { "":
        /// Nothing is written.
        R_RISCV_NONE = 0;
        /// S + A, 32 bits, unsigned.
        R_RISCV_32 = 1;
        /// S + A, 64 bits.
        R_RISCV_64 = 2;
        /// S + A − P, the displacement of a conditional branch (B-type).
        R_RISCV_BRANCH = 16;
        /// S + A − P, the displacement of `jal` (J-type).
        R_RISCV_JAL = 17;
        /// S + A − P, in `auipc` and the `jalr` behind it. The psABI has replaced it by the next one.
        R_RISCV_CALL = 18;
        /// S + A − P, in `auipc` and the `jalr` behind it.
        R_RISCV_CALL_PLT = 19;
        /// G + A − P, the high half, in `auipc`. G is a doubleword that holds the symbol's address.
        R_RISCV_GOT_HI20 = 20;
        /// S + A − P, the high half, in `auipc`.
        R_RISCV_PCREL_HI20 = 23;
        /// S − P, the low half, in an instruction of I-type; S and P are those of the high half.
        R_RISCV_PCREL_LO12_I = 24;
        /// The same in a store (S-type).
        R_RISCV_PCREL_LO12_S = 25;
        /// S + A, the high half, in `lui`.
        R_RISCV_HI20 = 26;
        /// S + A, the low half, in an instruction of I-type.
        R_RISCV_LO12_I = 27;
        /// The same in a store (S-type).
        R_RISCV_LO12_S = 28;
        /// V + S + A, a byte. V is what is at the place.
        R_RISCV_ADD8 = 33;
        /// V + S + A, 16 bits.
        R_RISCV_ADD16 = 34;
        /// V + S + A, 32 bits.
        R_RISCV_ADD32 = 35;
        /// V + S + A, 64 bits.
        R_RISCV_ADD64 = 36;
        /// V − S − A, a byte.
        R_RISCV_SUB8 = 37;
        /// V − S − A, 16 bits.
        R_RISCV_SUB16 = 38;
        /// V − S − A, 32 bits.
        R_RISCV_SUB32 = 39;
        /// V − S − A, 64 bits.
        R_RISCV_SUB64 = 40;
        /// S + A − P, the displacement of `c.beqz`, `c.bnez` (CB-type).
        R_RISCV_RVC_BRANCH = 44;
        /// S + A − P, the displacement of `c.j` (CJ-type).
        R_RISCV_RVC_JUMP = 45;
        /// Nothing is written: a linker may shorten what is at the place, and a loader does not.
        R_RISCV_RELAX = 51;
        /// V − S − A, the low six bits of a byte.
        R_RISCV_SUB6 = 52;
        /// S + A, the low six bits of a byte.
        R_RISCV_SET6 = 53;
        /// S + A, a byte.
        R_RISCV_SET8 = 54;
        /// S + A, 16 bits.
        R_RISCV_SET16 = 55;
        /// S + A, 32 bits.
        R_RISCV_SET32 = 56;
        /// S + A − P, 32 bits.
        R_RISCV_32_PCREL = 57;
        /// G − P, the low half of what `GOT_HI20` has the high half of; S and P are those of the high half. The psABI, whose types
        /// end at 255, has `PCREL_LO12_I` for it too, and only the high half's type tells which.
        R_RISCV_GOT_LO12_I = 0x118;
    }
}

use r_type::*;

/// Opcodes: bits 0 to 6 of an instruction (the unprivileged manual, "RV32/64G Instruction Set Listings").
mod opcode {
    pub(super) const LOAD: u32 = 0x03;
    pub(super) const LOAD_FP: u32 = 0x07;
    pub(super) const OP_IMM: u32 = 0x13;
    pub(super) const AUIPC: u32 = 0x17;
    pub(super) const OP_IMM_32: u32 = 0x1b;
    pub(super) const STORE: u32 = 0x23;
    pub(super) const STORE_FP: u32 = 0x27;
    pub(super) const LUI: u32 = 0x37;
    pub(super) const BRANCH: u32 = 0x63;
    pub(super) const JALR: u32 = 0x67;
    pub(super) const JAL: u32 = 0x6f;
}

const fn opcode_of(insn: u32) -> u32 {
    insn & 0x7f
}

/// Bits `low` and up of `value`, `width` of them.
const fn field(value: i64, low: u32, width: u32) -> u32 {
    ((value.cast_unsigned() >> low) & ((1 << width) - 1) & 0xffff_ffff) as u32
}

/// Checks that `value` is a signed number of `bits` bits.
const fn signed(value: i64, bits: u32) -> Result<i64, RelocError> {
    let unused = 64 - bits;
    if value << unused >> unused == value { Ok(value) } else { Err(RelocError::Overflow { value, bits }) }
}

/// Checks that `value` is the displacement of a branch of `bits` bits: from one instruction to another.
const fn displacement(value: i64, bits: u32) -> Result<i64, RelocError> {
    if value & 1 == 0 { signed(value, bits) } else { Err(RelocError::Misaligned(value)) }
}

/// The upper twenty bits that `auipc` or `lui` has of a value of 32 bits. The twelve bits that are added to it are signed
/// (psABI, "PC-Relative Symbol Addresses"; `riscv_insn_valid_32bit_offset` in the loader), so the values are from −2^31 − 2^11 on.
const fn high(value: i64) -> Result<u32, RelocError> {
    match signed(value.wrapping_add(0x800), 32) {
        Ok(rounded) => Ok(field(rounded, 12, 20) << 12),
        Err(_) => Err(RelocError::Overflow { value, bits: 32 }),
    }
}

/// A value whose high half fits.
const fn whole(value: i64) -> Result<i64, RelocError> {
    match high(value) {
        Ok(_) => Ok(value),
        Err(error) => Err(error),
    }
}

/// The immediate of a B-type instruction (the unprivileged manual, "Immediate Encoding Variants").
const fn b_type(value: i64) -> u32 {
    field(value, 12, 1) << 31 | field(value, 5, 6) << 25 | field(value, 1, 4) << 8 | field(value, 11, 1) << 7
}

/// The immediate of a J-type instruction.
const fn j_type(value: i64) -> u32 {
    field(value, 20, 1) << 31
        | field(value, 1, 10) << 21
        | field(value, 11, 1) << 20
        | field(value, 12, 8) << 12
}

/// The immediate of an I-type instruction.
const fn i_type(value: i64) -> u32 {
    field(value, 0, 12) << 20
}

/// The immediate of an S-type instruction.
const fn s_type(value: i64) -> u32 {
    field(value, 5, 7) << 25 | field(value, 0, 5) << 7
}

/// The immediate of a CB-type instruction (the manual, "Compressed Instruction Formats", `C.BEQZ`).
const fn cb_type(value: i64) -> u16 {
    let bits = field(value, 8, 1) << 12
        | field(value, 3, 2) << 10
        | field(value, 6, 2) << 5
        | field(value, 1, 2) << 3
        | field(value, 5, 1) << 2;
    (bits & 0xffff) as u16
}

/// The immediate of a CJ-type instruction (the manual, `C.J`).
const fn cj_type(value: i64) -> u16 {
    let bits = field(value, 11, 1) << 12
        | field(value, 4, 1) << 11
        | field(value, 8, 2) << 9
        | field(value, 10, 1) << 8
        | field(value, 6, 1) << 7
        | field(value, 7, 1) << 6
        | field(value, 1, 3) << 3
        | field(value, 5, 1) << 2;
    (bits & 0xffff) as u16
}

/// The instruction's four bytes at `offset`: little endian, in units of 16 bits (the manual, "Base Instruction-Length Encoding").
fn insn(code: &[u8], offset: usize) -> Result<u32, RelocError> {
    let bytes = code.get(offset..).and_then(<[u8]>::first_chunk);
    bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(RelocError::ShortCode)
}

/// Stores the low `N` bytes of `value`.
fn store<const N: usize>(code: &mut [u8], value: u64) -> Result<usize, RelocError> {
    let place: &mut [u8; N] = code.first_chunk_mut().ok_or(RelocError::ShortCode)?;
    for (byte, value) in place.iter_mut().zip(value.to_le_bytes()) {
        *byte = value;
    }
    Ok(N)
}

/// Adds the low `N` bytes of `value` to what is at the place.
fn add<const N: usize>(code: &mut [u8], value: u64) -> Result<usize, RelocError> {
    let place: &[u8; N] = code.first_chunk().ok_or(RelocError::ShortCode)?;
    let mut old = [0; 8];
    for (byte, value) in old.iter_mut().zip(place) {
        *byte = *value;
    }
    store::<N>(code, u64::from_le_bytes(old).wrapping_add(value))
}

/// Replaces the low six bits of a byte by those that `value` makes of them.
fn six(code: &mut [u8], value: impl FnOnce(u64) -> u64) -> Result<usize, RelocError> {
    let old = u64::from(*code.first().ok_or(RelocError::ShortCode)?);
    store::<1>(code, old & 0xc0 | value(old) & 0x3f)
}

/// Replaces the bits `mask` of the instruction by `bits`, if `belongs` says that the type fits it.
fn patch(code: &mut [u8], belongs: impl Fn(u32) -> bool, mask: u32, bits: u32) -> Result<usize, RelocError> {
    let old = insn(code, 0)?;
    if !belongs(old) {
        return Err(RelocError::UnexpectedCode(old.to_le_bytes()));
    }
    store::<4>(code, u64::from(old & !mask | bits))
}

/// The same for an instruction of two bytes.
fn patch_c(
    code: &mut [u8],
    belongs: impl Fn(u16) -> bool,
    mask: u16,
    bits: u16,
) -> Result<usize, RelocError> {
    let bytes = *code.first_chunk().ok_or(RelocError::ShortCode)?;
    let old = u16::from_le_bytes(bytes);
    if !belongs(old) {
        return Err(RelocError::UnexpectedCode([bytes[0], bytes[1], 0, 0]));
    }
    store::<2>(code, u64::from(old & !mask | bits))
}

/// `lui` or `auipc`.
fn upper(code: &mut [u8], opcode: u32, value: i64) -> Result<usize, RelocError> {
    patch(code, |insn| opcode_of(insn) == opcode, 0xffff_f000, high(value)?)
}

/// An instruction of I-type whose immediate is a number that is added: loads, `addi`, `addiw`, `jalr`.
fn low_i(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    let belongs = |insn: u32| match opcode_of(insn) {
        opcode::LOAD | opcode::LOAD_FP => true,
        opcode::OP_IMM | opcode::OP_IMM_32 | opcode::JALR => insn & 0x7000 == 0,
        _ => false,
    };
    patch(code, belongs, i_type(-1), i_type(value))
}

/// A store.
fn low_s(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    let belongs = |insn| matches!(opcode_of(insn), opcode::STORE | opcode::STORE_FP);
    patch(code, belongs, s_type(-1), s_type(value))
}

/// `auipc` and the `jalr` behind it that jumps by the register that it sets.
fn call(code: &mut [u8], distance: i64) -> Result<usize, RelocError> {
    let (auipc, jalr) = (insn(code, 0)?, insn(code, 4)?);
    if opcode_of(auipc) != opcode::AUIPC {
        return Err(RelocError::UnexpectedCode(auipc.to_le_bytes()));
    }
    // funct3, and rs1, which is the rd of auipc.
    let (set, by) = (auipc >> 7 & 0x1f, jalr >> 15 & 0x1f);
    if jalr & 0x707f != opcode::JALR || set != by {
        return Err(RelocError::UnexpectedCode(jalr.to_le_bytes()));
    }
    let distance = whole(displacement(distance, 64)?)?;
    upper(code, opcode::AUIPC, distance)?;
    low_i(&mut code[4..], distance)?;
    Ok(8)
}

impl Relocate for Riscv64 {
    const ABSOLUTE: u32 = R_RISCV_64;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        let &Relocation { r_type, place, symbol, addend } = relocation;
        let absolute = symbol.wrapping_add_signed(addend);
        let value = absolute.cast_signed();
        let distance = absolute.wrapping_sub(place).cast_signed();
        match r_type {
            R_RISCV_NONE | R_RISCV_RELAX => Ok(0),

            R_RISCV_32 if u32::try_from(absolute).is_err() => Err(RelocError::Overflow { value, bits: 32 }),
            R_RISCV_32 | R_RISCV_SET32 => store::<4>(code, absolute),
            R_RISCV_64 => store::<8>(code, absolute),
            R_RISCV_32_PCREL => store::<4>(code, signed(distance, 32)?.cast_unsigned()),
            R_RISCV_SET8 => store::<1>(code, absolute),
            R_RISCV_SET16 => store::<2>(code, absolute),
            R_RISCV_ADD8 => add::<1>(code, absolute),
            R_RISCV_ADD16 => add::<2>(code, absolute),
            R_RISCV_ADD32 => add::<4>(code, absolute),
            R_RISCV_ADD64 => add::<8>(code, absolute),
            R_RISCV_SUB8 => add::<1>(code, absolute.wrapping_neg()),
            R_RISCV_SUB16 => add::<2>(code, absolute.wrapping_neg()),
            R_RISCV_SUB32 => add::<4>(code, absolute.wrapping_neg()),
            R_RISCV_SUB64 => add::<8>(code, absolute.wrapping_neg()),
            R_RISCV_SET6 => six(code, |_| absolute),
            R_RISCV_SUB6 => six(code, |old| old.wrapping_sub(absolute)),

            R_RISCV_BRANCH => {
                let imm = b_type(displacement(distance, 13)?);
                patch(code, |insn| opcode_of(insn) == opcode::BRANCH, b_type(-1), imm)
            }
            R_RISCV_JAL => {
                let imm = j_type(displacement(distance, 21)?);
                patch(code, |insn| opcode_of(insn) == opcode::JAL, j_type(-1), imm)
            }
            R_RISCV_RVC_BRANCH => {
                let imm = cb_type(displacement(distance, 9)?);
                patch_c(code, |insn| insn & 0xc003 == 0xc001, cb_type(-1), imm)
            }
            R_RISCV_RVC_JUMP => {
                let imm = cj_type(displacement(distance, 12)?);
                patch_c(code, |insn| insn & 0xe003 == 0xa001, cj_type(-1), imm)
            }
            R_RISCV_CALL | R_RISCV_CALL_PLT => call(code, distance),

            // The psABI adds it to the doubleword's address, the loader to what the doubleword holds.
            R_RISCV_GOT_HI20 if addend != 0 => Err(RelocError::Overflow { value: addend, bits: 0 }),
            R_RISCV_GOT_HI20 | R_RISCV_PCREL_HI20 => upper(code, opcode::AUIPC, distance),
            R_RISCV_GOT_LO12_I | R_RISCV_PCREL_LO12_I => low_i(code, whole(distance)?),
            R_RISCV_PCREL_LO12_S => low_s(code, whole(distance)?),

            R_RISCV_HI20 => upper(code, opcode::LUI, value),
            R_RISCV_LO12_I => low_i(code, value),
            R_RISCV_LO12_S => low_s(code, value),

            unknown => Err(RelocError::UnknownType(unknown)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        r_type::name(r_type)
    }

    fn by_way(r_type: u32) -> ByWay {
        match r_type {
            R_RISCV_CALL | R_RISCV_CALL_PLT | R_RISCV_JAL => ByWay::Slot { own: 0 },
            R_RISCV_GOT_HI20 | R_RISCV_GOT_LO12_I => ByWay::Literal,
            _ => ByWay::None,
        }
    }

    fn low_half(low: u32, high: u32) -> Option<u32> {
        match (low, high) {
            (R_RISCV_PCREL_LO12_I | R_RISCV_PCREL_LO12_S, R_RISCV_PCREL_HI20) => Some(low),
            (R_RISCV_PCREL_LO12_I, R_RISCV_GOT_HI20) => Some(R_RISCV_GOT_LO12_I),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: u64 = 0xffff_ffff_0123_4000;

    fn apply<const N: usize>(
        r_type: u32,
        symbol: u64,
        addend: i64,
        mut code: [u8; N],
    ) -> Result<[u8; N], RelocError> {
        let before = code;
        let relocation = Relocation { r_type, place: PLACE, symbol, addend };
        match Riscv64::relocate(&relocation, &mut code) {
            Ok(_) => Ok(code),
            Err(error) => {
                assert_eq!(code, before, "changed by a relocation that failed");
                Err(error)
            }
        }
    }

    fn insns<const N: usize>(insns: [u32; N]) -> [u8; 8] {
        let mut bytes = [0; 8];
        for (to, insn) in bytes.chunks_mut(4).zip(insns) {
            to.copy_from_slice(&insn.to_le_bytes());
        }
        bytes
    }

    fn overflow<T>(value: i64, bits: u32) -> Result<T, RelocError> {
        Err(RelocError::Overflow { value, bits })
    }

    #[test]
    fn two_at_one_place_add_up_whoever_comes_first() {
        for types in [[R_RISCV_ADD32, R_RISCV_SUB32], [R_RISCV_SUB32, R_RISCV_ADD32]] {
            let mut place = [0; 4];
            for r_type in types {
                let symbol = if r_type == R_RISCV_ADD32 { PLACE + 0x1234 } else { PLACE };
                place = apply(r_type, symbol, 0, place).unwrap();
            }
            assert_eq!(place, 0x1234_u32.to_le_bytes());
        }
        assert_eq!(apply(R_RISCV_ADD64, PLACE, 2, [0xff; 8]), Ok((PLACE + 1).to_le_bytes()));
        assert_eq!(apply(R_RISCV_SUB64, PLACE, 0, [0; 8]), Ok(PLACE.wrapping_neg().to_le_bytes()));
        assert_eq!(apply(R_RISCV_SUB6, 2, 0, [0xc1]), Ok([0xff]), "the upper two bits are another field");
        assert_eq!(apply(R_RISCV_SET6, 0xff, 0, [0x80]), Ok([0xbf]));
    }

    #[test]
    fn halves_make_the_whole() {
        // auipc a0, 0; ld a0, 0(a0); sd a1, 0(a0)
        let (auipc, ld, sd) = (0x0000_0517_u32, 0x0005_3503_u32, 0x00b5_3023_u32);
        for distance in [0, 0x7ff, 0x800, -0x800, -0x801, 0x7fff_f7ff, -0x8000_0800, 0x1234_5fff] {
            let symbol = PLACE.wrapping_add_signed(distance);
            let high = apply(R_RISCV_PCREL_HI20, symbol, 0, auipc.to_le_bytes()).unwrap();
            let high = i64::from(u32::from_le_bytes(high).cast_signed() & !0xfff);
            // The low halves are 8 bytes on; their addend says so.
            let low = |r_type, insn: u32| {
                let relocation = Relocation { r_type, place: PLACE + 8, symbol, addend: 8 };
                let mut code = insn.to_le_bytes();
                Riscv64::relocate(&relocation, &mut code).map(|_| u32::from_le_bytes(code))
            };
            let i = low(R_RISCV_PCREL_LO12_I, ld).unwrap();
            assert_eq!(high + i64::from(i.cast_signed() >> 20), distance, "{distance:#x}");
            assert_eq!(i & 0xf_ffff, ld);
            let s = low(R_RISCV_PCREL_LO12_S, sd).unwrap();
            let imm = (s & 0xfe00_0000).cast_signed() >> 20 | (s >> 7 & 0x1f).cast_signed();
            assert_eq!(high + i64::from(imm), distance, "{distance:#x}");
            assert_eq!(low(R_RISCV_GOT_LO12_I, ld), Ok(i));
        }
        for distance in [0x7fff_f800, -0x8000_0801] {
            let symbol = PLACE.wrapping_add_signed(distance);
            assert_eq!(apply(R_RISCV_PCREL_HI20, symbol, 0, auipc.to_le_bytes()), overflow(distance, 32));
            assert_eq!(apply(R_RISCV_PCREL_LO12_I, symbol, 0, ld.to_le_bytes()), overflow(distance, 32));
        }
        assert_eq!(apply(R_RISCV_GOT_HI20, PLACE, 8, auipc.to_le_bytes()), overflow(8, 0));
    }

    #[test]
    fn a_low_half_goes_with_its_high_half() {
        assert_eq!(Riscv64::low_half(R_RISCV_PCREL_LO12_I, R_RISCV_PCREL_HI20), Some(R_RISCV_PCREL_LO12_I));
        assert_eq!(Riscv64::low_half(R_RISCV_PCREL_LO12_S, R_RISCV_PCREL_HI20), Some(R_RISCV_PCREL_LO12_S));
        assert_eq!(Riscv64::low_half(R_RISCV_PCREL_LO12_I, R_RISCV_GOT_HI20), Some(R_RISCV_GOT_LO12_I));
        assert_eq!(Riscv64::low_half(R_RISCV_PCREL_LO12_S, R_RISCV_GOT_HI20), None);
        assert_eq!(
            Riscv64::low_half(R_RISCV_PCREL_LO12_I, R_RISCV_CALL_PLT),
            None,
            "a label that is a call's"
        );
        assert_eq!(Riscv64::low_half(R_RISCV_LO12_I, R_RISCV_PCREL_HI20), None);
    }

    #[test]
    fn calls() {
        // auipc ra, 0; jalr ra, 0(ra). And with t1, which links nowhere.
        let (auipc, jalr) = (0x0000_0097_u32, 0x0000_80e7_u32);
        let call = insns([auipc, jalr]);
        assert_eq!(apply(R_RISCV_CALL_PLT, PLACE + 0x1800, 0, call), Ok(insns([0x2097, 0x8000_80e7])));
        assert_eq!(apply(R_RISCV_CALL, PLACE, -2, call), Ok(insns([auipc, 0xffe0_80e7])));
        assert_eq!(apply(R_RISCV_CALL, PLACE, 1, call), Err(RelocError::Misaligned(1)));
        let tail = insns([0x317, 0x0003_0067]);
        assert_eq!(apply(R_RISCV_CALL_PLT, PLACE, 4, tail), Ok(insns([0x317, 0x0043_0067])));
        // Another register; another instruction.
        let other = 0x0003_80e7_u32;
        let found = apply(R_RISCV_CALL_PLT, PLACE, 0, insns([auipc, other]));
        assert_eq!(found, Err(RelocError::UnexpectedCode(other.to_le_bytes())));
        let found = apply(R_RISCV_CALL_PLT, PLACE, 0, insns([jalr, jalr]));
        assert_eq!(found, Err(RelocError::UnexpectedCode(jalr.to_le_bytes())));
        assert_eq!(
            apply(R_RISCV_CALL_PLT, PLACE, 0, [0x97, 0, 0, 0, 0xe7, 0x80, 0]),
            Err(RelocError::ShortCode)
        );
    }

    #[test]
    fn an_instruction_that_a_type_does_not_belong_to() {
        let addi = 0x0005_0513_u32.to_le_bytes();
        for r_type in [R_RISCV_BRANCH, R_RISCV_JAL, R_RISCV_PCREL_HI20, R_RISCV_PCREL_LO12_S] {
            assert_eq!(apply(r_type, PLACE, 0, addi), Err(RelocError::UnexpectedCode(addi)), "type {r_type}");
        }
        // A shift's immediate is no number that is added to a register.
        let slli = 0x0005_1513_u32.to_le_bytes();
        assert_eq!(apply(R_RISCV_PCREL_LO12_I, PLACE, 0, slli), Err(RelocError::UnexpectedCode(slli)));
        assert_eq!(apply(R_RISCV_RVC_JUMP, PLACE, 0, [1, 0]), Err(RelocError::UnexpectedCode([1, 0, 0, 0])));
        assert_eq!(
            apply(R_RISCV_RVC_BRANCH, PLACE, 0, [1, 0]),
            Err(RelocError::UnexpectedCode([1, 0, 0, 0]))
        );
    }

    #[test]
    fn types_that_the_loader_does_not_know() {
        // ALIGN, SET_ULEB128, SUB_ULEB128.
        for r_type in [43, 60, 61] {
            assert_eq!(apply(r_type, PLACE, 0, [0; 8]), Err(RelocError::UnknownType(r_type)));
        }
    }
}
