// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of kernel modules: what `apply_relocate_add` in `arch/riscv/kernel/module.c` knows (psABI, "Relocations"),
//! but for those of the linker's relaxation, which modules are compiled without.
//!
//! What the caller passes where it is not symbol and addend as compilers emit them:
//!
//! | type | symbol | addend |
//! |---|---|---|
//! | `PCREL_LO12_I`, `PCREL_LO12_S` | of the relocation at the label, which has the high half | its own, and the distance from the label to the place |
//! | `GOT_HI20` | the address of the doubleword that holds the symbol's | 0 |
//!
//! `ADD…` and `SUB…` change what is at the place, once.

use klp_core::reloc::{ByWay, RelocError, Relocate, Relocation};

use crate::branch::{cj_immediate, j_immediate};
use crate::{Riscv64, insn, parcel};

/// Relocation types (psABI, "Relocations", the table of relocation types).
mod r {
    klp_core::reloc_types! { "R_RISCV_":
        NONE = 0;
        ABS32 = 1;
        ABS64 = 2;
        BRANCH = 16;
        JAL = 17;
        CALL = 18;
        CALL_PLT = 19;
        GOT_HI20 = 20;
        PCREL_HI20 = 23;
        PCREL_LO12_I = 24;
        PCREL_LO12_S = 25;
        HI20 = 26;
        LO12_I = 27;
        LO12_S = 28;
        ADD8 = 33;
        ADD16 = 34;
        ADD32 = 35;
        ADD64 = 36;
        SUB8 = 37;
        SUB16 = 38;
        SUB32 = 39;
        SUB64 = 40;
        RVC_BRANCH = 44;
        RVC_JUMP = 45;
        RELAX = 51;
        SUB6 = 52;
        SET6 = 53;
        SET8 = 54;
        SET16 = 55;
        SET32 = 56;
        PCREL32 = 57;
        PLT32 = 59;
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

/// Checks that `distance` is one between instructions that a field of `bits` bits holds, the lowest left out included.
const fn displacement(distance: i64, bits: u32) -> Result<i64, RelocError> {
    if distance & 1 != 0 {
        return Err(RelocError::Misaligned(distance));
    }
    signed(distance, bits)
}

/// The high 20 bits of `value`, in their place, such that the low twelve added with their sign give `value` (psABI,
/// "PC-Relative Symbol Addresses").
const fn high(value: i64) -> Result<u32, RelocError> {
    match signed(value.wrapping_add(0x800), 32) {
        Ok(adjusted) => Ok((adjusted.cast_unsigned() & 0xffff_f000) as u32),
        Err(_) => Err(RelocError::Overflow { value, bits: 32 }),
    }
}

/// The low twelve bits of `value`, which [`high`] has the rest of.
const fn low(value: i64) -> Result<u32, RelocError> {
    match high(value) {
        Ok(_) => Ok((value.cast_unsigned() & 0xfff) as u32),
        Err(error) => Err(error),
    }
}

/// Stores the low `N` bytes of `value`.
fn store<const N: usize>(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    let place: &mut [u8; N] = code.first_chunk_mut().ok_or(RelocError::ShortCode)?;
    for (byte, value) in place.iter_mut().zip(value.to_le_bytes()) {
        *byte = value;
    }
    Ok(N)
}

/// Adds `value` to the `N` bytes at the place; what does not fit is cut off.
fn add<const N: usize>(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    let mut old = [0; 8];
    old[..N].copy_from_slice(code.get(..N).ok_or(RelocError::ShortCode)?);
    store::<N>(code, i64::from_le_bytes(old).wrapping_add(value))
}

/// Replaces the low six bits of the byte at the place by those of `new`, which is told the old ones.
fn store_six(code: &mut [u8], new: impl Fn(i64) -> i64) -> Result<usize, RelocError> {
    let &old = code.first().ok_or(RelocError::ShortCode)?;
    let old = i64::from(old);
    store::<1>(code, old & 0xc0 | new(old & 0x3f) & 0x3f)
}

/// Replaces the bits `mask` of the instruction at the place by `bits`, if `belongs` says that the type fits it.
fn patch(code: &mut [u8], belongs: impl Fn(u32) -> bool, mask: u32, bits: u32) -> Result<usize, RelocError> {
    let old = insn(code, 0).ok_or(RelocError::ShortCode)?;
    if !belongs(old) {
        return Err(RelocError::UnexpectedCode(old.to_le_bytes()));
    }
    store::<4>(code, i64::from(old & !mask | bits))
}

/// As [`patch`], of a compressed instruction.
fn patch_compressed(
    code: &mut [u8],
    belongs: impl Fn(u16) -> bool,
    mask: u16,
    bits: u16,
) -> Result<usize, RelocError> {
    let old = parcel(code, 0).ok_or(RelocError::ShortCode)?;
    if !belongs(old) {
        let [first, second] = old.to_le_bytes();
        return Err(RelocError::UnexpectedCode([first, second, 0, 0]));
    }
    store::<2>(code, i64::from(old & !mask | bits))
}

/// The opcode of a 4-byte instruction.
const fn opcode(insn: u32) -> u32 {
    insn & 0x7f
}

const AUIPC: u32 = 0x17;
const LUI: u32 = 0x37;
/// The twenty bits of a "U-type" immediate.
const U_IMMEDIATE: u32 = 0xffff_f000;
/// The twelve bits of an "I-type" immediate.
const I_IMMEDIATE: u32 = 0xfff << 20;
/// The twelve bits of an "S-type" or "B-type" immediate.
const S_IMMEDIATE: u32 = 0x7f << 25 | 0x1f << 7;

/// Loads, ADDI, ADDIW, JALR: what has an I-type immediate that may be an address's low half.
fn takes_i(insn: u32) -> bool {
    matches!(opcode(insn), 0x03 | 0x07 | 0x67) || matches!(opcode(insn), 0x13 | 0x1b) && insn >> 12 & 7 == 0
}

/// Stores.
fn takes_s(insn: u32) -> bool {
    matches!(opcode(insn), 0x23 | 0x27)
}

fn store_high(code: &mut [u8], op: u32, value: i64) -> Result<usize, RelocError> {
    patch(code, |insn| opcode(insn) == op, U_IMMEDIATE, high(value)?)
}

fn store_low_i(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    patch(code, takes_i, I_IMMEDIATE, low(value)? << 20)
}

fn store_low_s(code: &mut [u8], value: i64) -> Result<usize, RelocError> {
    let low = low(value)?;
    patch(code, takes_s, S_IMMEDIATE, low >> 5 << 25 | (low & 0x1f) << 7)
}

/// `auipc` and the `jalr` behind it that goes through the same register.
fn store_call(code: &mut [u8], distance: i64) -> Result<usize, RelocError> {
    let (Some(first), Some(second)) = (insn(code, 0), insn(code, 4)) else {
        return Err(RelocError::ShortCode);
    };
    if opcode(first) != AUIPC {
        return Err(RelocError::UnexpectedCode(first.to_le_bytes()));
    }
    if second & 0x707f != 0x67 || second >> 15 & 0x1f != first >> 7 & 0x1f {
        return Err(RelocError::UnexpectedCode(second.to_le_bytes()));
    }
    let distance = if distance & 1 == 0 { distance } else { return Err(RelocError::Misaligned(distance)) };
    let (high, low) = (high(distance)?, low(distance)?);
    store::<4>(code, i64::from(first & !U_IMMEDIATE | high))?;
    store::<4>(&mut code[4..], i64::from(second & !I_IMMEDIATE | low << 20))?;
    Ok(8)
}

/// A conditional branch ("B-type" immediate).
fn store_branch(code: &mut [u8], distance: i64) -> Result<usize, RelocError> {
    let bits = (displacement(distance, 13)?.cast_unsigned() & 0x1fff) as u32;
    let immediate =
        (bits >> 12 & 1) << 31 | (bits >> 5 & 0x3f) << 25 | (bits >> 1 & 0xf) << 8 | (bits >> 11 & 1) << 7;
    patch(code, |insn| opcode(insn) == 0x63, S_IMMEDIATE, immediate)
}

/// `c.beqz` and `c.bnez` ("CB" format).
fn store_compressed_branch(code: &mut [u8], distance: i64) -> Result<usize, RelocError> {
    let bits = (displacement(distance, 9)?.cast_unsigned() & 0x1ff) as u16;
    let immediate = (bits >> 8 & 1) << 12
        | (bits >> 3 & 3) << 10
        | (bits >> 6 & 3) << 5
        | (bits >> 1 & 3) << 3
        | (bits >> 5 & 1) << 2;
    patch_compressed(code, |insn| insn & 0xc003 == 0xc001, 0x1c7c, immediate)
}

impl Relocate for Riscv64 {
    const ABSOLUTE: u32 = r::ABS64;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        let &Relocation { r_type, place, symbol, addend } = relocation;
        let target = symbol.wrapping_add_signed(addend);
        let value = target.cast_signed();
        let distance = target.wrapping_sub(place).cast_signed();
        match r_type {
            r::NONE | r::RELAX => Ok(0),

            r::ABS64 => store::<8>(code, value),
            r::ABS32 => store::<4>(code, unsigned(value, 32)?),
            r::PCREL32 | r::PLT32 => store::<4>(code, signed(distance, 32)?),
            r::ADD8 => add::<1>(code, value),
            r::ADD16 => add::<2>(code, value),
            r::ADD32 => add::<4>(code, value),
            r::ADD64 => add::<8>(code, value),
            r::SUB8 => add::<1>(code, value.wrapping_neg()),
            r::SUB16 => add::<2>(code, value.wrapping_neg()),
            r::SUB32 => add::<4>(code, value.wrapping_neg()),
            r::SUB64 => add::<8>(code, value.wrapping_neg()),
            r::SET6 => store_six(code, |_| value),
            r::SUB6 => store_six(code, |old| old.wrapping_sub(value)),
            r::SET8 => store::<1>(code, value),
            r::SET16 => store::<2>(code, value),
            r::SET32 => store::<4>(code, value),

            r::GOT_HI20 if addend != 0 => Err(RelocError::Overflow { value: addend, bits: 0 }),
            r::PCREL_HI20 | r::GOT_HI20 => store_high(code, AUIPC, distance),
            r::PCREL_LO12_I => store_low_i(code, distance),
            r::PCREL_LO12_S => store_low_s(code, distance),
            r::HI20 => store_high(code, LUI, value),
            r::LO12_I => store_low_i(code, value),
            r::LO12_S => store_low_s(code, value),

            r::BRANCH => store_branch(code, distance),
            r::JAL => {
                let immediate = j_immediate(displacement(distance, 21)?);
                patch(code, |insn| opcode(insn) == 0x6f, U_IMMEDIATE, immediate)
            }
            r::CALL | r::CALL_PLT => store_call(code, distance),
            r::RVC_BRANCH => store_compressed_branch(code, distance),
            r::RVC_JUMP => {
                let immediate = cj_immediate(displacement(distance, 12)?);
                patch_compressed(code, |insn| insn & 0xe003 == 0xa001, 0x1ffc, immediate)
            }

            unknown => Err(RelocError::UnknownType(unknown)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        match r_type {
            // No names of constants, as they begin with a digit.
            r::ABS32 => Some("R_RISCV_32"),
            r::ABS64 => Some("R_RISCV_64"),
            r::PCREL32 => Some("R_RISCV_32_PCREL"),
            _ => r::name(r_type),
        }
    }

    fn by_way(r_type: u32) -> ByWay {
        match r_type {
            r::JAL | r::CALL | r::CALL_PLT => ByWay::Slot { own: 0 },
            r::GOT_HI20 => ByWay::Literal,
            _ => ByWay::None,
        }
    }

    /// The label's address is that of `auipc`, which the distance counts from (psABI, "PC-Relative Symbol Addresses").
    fn low_half(low: u32, high: u32) -> Option<u32> {
        (matches!(low, r::PCREL_LO12_I | r::PCREL_LO12_S) && high == r::PCREL_HI20).then_some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: u64 = 0xffff_ffff_01a0_2ffe;

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
        for relative in [r::PCREL32, r::PLT32] {
            assert_eq!(apply(relative, PLACE, -8, [0; 4]), Ok((-8_i32).to_le_bytes()));
            assert_eq!(apply(relative, PLACE, 1 << 31, [0; 4]), overflow(1 << 31, 32));
        }
        assert_eq!(apply(r::RELAX, PLACE, 0, [0; 0]), Ok([]));
        assert_eq!(apply(r::ABS64, PLACE, 0, [0; 7]), Err(RelocError::ShortCode));
        assert_eq!(apply(43, PLACE, 0, [0; 8]), Err(RelocError::UnknownType(43)), "ALIGN");
    }

    /// psABI, "Relocations": V + S + A, V - S - A.
    #[test]
    fn differences_count_the_addend_as_the_symbol() {
        assert_eq!(apply(r::ADD16, 0x100, 0x20, [0xe0, 0xfe]), Ok([0, 0]));
        assert_eq!(apply(r::SUB16, 0x100, 0x20, [0x20, 0x01]), Ok([0, 0]));
        assert_eq!(apply(r::SUB8, 1, 1, [1]), Ok([0xff]));
        assert_eq!(apply(r::SUB64, PLACE, -2, PLACE.to_le_bytes()), Ok(2_u64.to_le_bytes()));
        assert_eq!(apply(r::ADD32, 1 << 40 | 3, 0, [1, 0, 0, 0]), Ok([4, 0, 0, 0]), "cut off");
        assert_eq!(apply(r::SET6, 0x7f, 0, [0x80]), Ok([0xbf]));
        assert_eq!(apply(r::SUB6, 2, 0, [0x81]), Ok([0xbf]));
        assert_eq!(apply(r::SET16, 0x12_3456, 0, [0; 2]), Ok([0x56, 0x34]));
        for (name, len) in [(r::ADD8, 0), (r::SUB64, 7), (r::SET6, 0)] {
            let relocation = Relocation { r_type: name, place: PLACE, symbol: 0, addend: 0 };
            let found = Riscv64::relocate(&relocation, &mut [0; 8][..len]);
            assert_eq!(found, Err(RelocError::ShortCode), "type {name}");
        }
    }

    #[test]
    fn halves_of_a_distance() {
        let auipc_a0 = 0x0000_0517;
        // 0x800 and up round the high half up: the low half has a sign.
        assert_eq!(patched(r::PCREL_HI20, PLACE + 0x17ff, auipc_a0), Ok(0x0000_1517));
        assert_eq!(patched(r::PCREL_HI20, PLACE + 0x1800, auipc_a0), Ok(0x0000_2517));
        assert_eq!(patched(r::PCREL_HI20, PLACE - 1, auipc_a0), Ok(auipc_a0));
        assert_eq!(patched(r::PCREL_HI20, PLACE + 0x7fff_f800, auipc_a0), overflow(0x7fff_f800, 32));
        // `addi` and `sd` 8 bytes behind `auipc`: symbol and addend are of the high half, and the 8 bytes are added.
        let low = |r_type, insn: u32| apply(r_type, PLACE + 0x1800, 8, insn.to_le_bytes());
        assert_eq!(low(r::PCREL_LO12_I, 0x0005_0513), Ok(0x8085_0513_u32.to_le_bytes()));
        assert_eq!(low(r::PCREL_LO12_S, 0x00b5_3023), Ok(0x80b5_3423_u32.to_le_bytes()));
        for half in [r::PCREL_LO12_I, r::PCREL_LO12_S] {
            assert_eq!(Riscv64::low_half(half, r::PCREL_HI20), Some(half));
            assert_eq!(Riscv64::low_half(half, r::GOT_HI20), None);
            assert_eq!(Riscv64::low_half(half, r::CALL_PLT), None);
        }
        assert_eq!(Riscv64::low_half(r::JAL, r::PCREL_HI20), None);
    }

    #[test]
    fn instructions_that_a_type_does_not_belong_to_are_refused() {
        let addi = 0x0005_0513_u32;
        let relative = [r::PCREL_HI20, r::GOT_HI20, r::PCREL_LO12_S, r::BRANCH, r::JAL].map(|it| (it, PLACE));
        for (r_type, symbol) in [(r::HI20, 0), (r::LO12_S, 0)].into_iter().chain(relative) {
            let unexpected = Err(RelocError::UnexpectedCode(addi.to_le_bytes()));
            assert_eq!(patched(r_type, symbol, addi), unexpected, "type {r_type}");
        }
        let slli = 0x0015_1513_u32;
        assert_eq!(patched(r::LO12_I, 0, slli), Err(RelocError::UnexpectedCode(slli.to_le_bytes())));
        for r_type in [r::RVC_BRANCH, r::RVC_JUMP] {
            let unexpected = Err(RelocError::UnexpectedCode([1, 0, 0, 0]));
            assert_eq!(apply(r_type, PLACE, 0, [1, 0]), unexpected, "type {r_type}");
        }
        // auipc ra; jalr t1: not through the register that was set.
        let call = [0x97, 0, 0, 0, 0xe7, 0, 0x03, 0];
        assert_eq!(apply(r::CALL_PLT, PLACE, 0, call), Err(RelocError::UnexpectedCode([0xe7, 0, 0x03, 0])));
    }

    #[test]
    fn branches() {
        let call = [0x97, 0, 0, 0, 0xe7, 0x80, 0, 0];
        assert_eq!(apply(r::CALL_PLT, PLACE + 0x800, 0, call), Ok([0x97, 0x10, 0, 0, 0xe7, 0x80, 0, 0x80]));
        assert_eq!(apply(r::CALL, PLACE + 1, 0, call), Err(RelocError::Misaligned(1)));
        assert_eq!(apply(r::CALL, PLACE, 1 << 31, call), overflow(1 << 31, 32));
        assert_eq!(patched(r::JAL, PLACE - 4, 0x0000_00ef), Ok(0xffdf_f0ef));
        assert_eq!(patched(r::JAL, PLACE + 0x10_0000, 0x0000_00ef), overflow(0x10_0000, 21));
        assert_eq!(patched(r::BRANCH, PLACE - 4, 0x00b5_0063), Ok(0xfeb5_0ee3));
        assert_eq!(patched(r::BRANCH, PLACE + 0x1000, 0x00b5_0063), overflow(0x1000, 13));
        assert_eq!(apply(r::RVC_JUMP, PLACE - 6, 0, [0x01, 0xa0]), Ok([0xed, 0xbf]));
        assert_eq!(apply(r::RVC_JUMP, PLACE + 0x800, 0, [0x01, 0xa0]), overflow(0x800, 12));
        assert_eq!(apply(r::RVC_BRANCH, PLACE + 0x100, 0, [0x01, 0xc1]), overflow(0x100, 9));
        assert!(Riscv64::is_branch(r::CALL_PLT) && Riscv64::is_branch(r::JAL));
        assert!(!Riscv64::is_branch(r::BRANCH) && !Riscv64::is_branch(r::RVC_JUMP));
    }
}
