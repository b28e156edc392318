// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of kernel modules: what `apply_relocate_add` in `arch/powerpc/kernel/module_64.c` knows (ELFv2,
//! "Relocation Types").
//!
//! What the caller passes as [`Relocation::symbol`]:
//!
//! | type | symbol |
//! |---|---|
//! | `TOC16*` | S − .TOC., the symbol's distance from the module's TOC pointer |
//! | `TOC` | .TOC. |
//! | `REL24` | the entry point to branch to: the local one if caller and callee share a TOC; else the global one, and the branch goes through a slot even if it is in reach |
//! | others | S |

use klp_core::Addr;
use klp_core::branch::FarBranch;
use klp_core::reloc::{ByWay, RelocError, Relocate, Relocation};

use crate::{Ppc64, insn};

/// Relocation types (ELFv2, "Relocation Types Table").
mod r {
    klp_core::reloc_types! { "R_PPC64_":
        NONE = 0;
        ADDR32 = 1;
        REL24 = 10;
        REL32 = 26;
        ADDR64 = 38;
        REL64 = 44;
        TOC16 = 47;
        TOC16_LO = 48;
        TOC16_HI = 49;
        TOC16_HA = 50;
        TOC = 51;
        TOC16_DS = 63;
        TOC16_LO_DS = 64;
        TOCSAVE = 109;
        ENTRY = 118;
        REL16 = 249;
        REL16_LO = 250;
        REL16_HI = 251;
        REL16_HA = 252;
    }
}

/// `nop`, and `ld r2,24(r1)`: the TOC save doubleword of the caller's frame (ELFv2, "The Stack Frame").
const NOP: u32 = 0x6000_0000;
const RESTORE_TOC: u32 = 0xe841_0018;

/// Which sixteen bits of a value an instruction holds (ELFv2, "Relocation Types": the operators `#lo`, `#hi`, `#ha`).
#[derive(Clone, Copy)]
enum Half {
    /// All of a value that fits.
    Whole,
    /// The low half, unchecked.
    Lo,
    /// The high half of a 32-bit value.
    Hi,
    /// The high half, adjusted: added to the sign-extended low half it gives the value.
    Ha,
}

/// Checks that `value` is a signed number of `bits` bits.
const fn signed(value: i64, bits: u32) -> Result<i64, RelocError> {
    let unused = 64 - bits;
    if value << unused >> unused == value { Ok(value) } else { Err(RelocError::Overflow { value, bits }) }
}

fn store<const N: usize>(code: &mut [u8], bytes: [u8; N]) -> Result<usize, RelocError> {
    *code.first_chunk_mut().ok_or(RelocError::ShortCode)? = bytes;
    Ok(N)
}

/// Stores a half of `value` in a `half16` field, which is all of the place, or a `half16ds` field, whose low two bits
/// belong to the opcode (ELFv2, "Relocation Fields").
fn store_half(code: &mut [u8], value: i64, half: Half, ds: bool) -> Result<usize, RelocError> {
    let value = match half {
        Half::Whole => signed(value, 16)?,
        Half::Lo => value,
        Half::Hi => signed(value, 32)? >> 16,
        Half::Ha => match signed(value.wrapping_add(0x8000), 32) {
            Ok(adjusted) => adjusted >> 16,
            Err(_) => return Err(RelocError::Overflow { value, bits: 32 }),
        },
    };
    let old = u16::from_le_bytes(*code.first_chunk().ok_or(RelocError::ShortCode)?);
    if ds && value & 3 != 0 {
        return Err(RelocError::Misaligned(value));
    }
    let kept = if ds { old & 3 } else { 0 };
    store(code, ((value.cast_unsigned() & 0xffff) as u16 | kept).to_le_bytes())
}

/// Points the branch at the place to `to` (a `low24` field).
fn store_branch(code: &mut [u8], place: u64, to: u64) -> Result<usize, RelocError> {
    let old = insn(code, 0).ok_or(RelocError::ShortCode)?;
    if old & 0xfc00_0002 != 0x4800_0000 {
        return Err(RelocError::UnexpectedCode(old.to_le_bytes()));
    }
    let distance = to.wrapping_sub(place).cast_signed();
    if distance & 3 != 0 {
        return Err(RelocError::Misaligned(distance));
    }
    if !Ppc64::REACH.covers(place, to) {
        return Err(RelocError::Overflow { value: distance, bits: 26 });
    }
    store(code, (old & 0xfc00_0003 | (distance.cast_unsigned() & 0x3ff_fffc) as u32).to_le_bytes())
}

impl Relocate for Ppc64 {
    const ABSOLUTE: u32 = r::ADDR64;

    /// Another object has another TOC, and only its functions' global entry points are known.
    const SLOT_BETWEEN_OBJECTS: bool = true;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        let &Relocation { r_type, place, symbol, addend } = relocation;
        let absolute = symbol.wrapping_add_signed(addend);
        let value = absolute.cast_signed();
        let distance = absolute.wrapping_sub(place).cast_signed();
        match r_type {
            // Markers. ENTRY allows to shorten the large code model's entry sequence, which is right as it is.
            r::NONE | r::TOCSAVE | r::ENTRY => Ok(0),
            r::ADDR64 => store(code, absolute.to_le_bytes()),
            // word32*: signed or unsigned (ELFv2, "Relocation Fields").
            r::ADDR32 if u32::try_from(value).is_ok() || i32::try_from(value).is_ok() => {
                store(code, ((absolute & 0xffff_ffff) as u32).to_le_bytes())
            }
            r::ADDR32 => Err(RelocError::Overflow { value, bits: 32 }),
            r::REL64 => store(code, distance.to_le_bytes()),
            r::REL32 => match i32::try_from(distance) {
                Ok(distance) => store(code, distance.to_le_bytes()),
                Err(_) => Err(RelocError::Overflow { value: distance, bits: 32 }),
            },
            r::TOC => store(code, symbol.to_le_bytes()),
            r::TOC16 => store_half(code, value, Half::Whole, false),
            r::TOC16_DS => store_half(code, value, Half::Whole, true),
            r::TOC16_LO => store_half(code, value, Half::Lo, false),
            r::TOC16_LO_DS => store_half(code, value, Half::Lo, true),
            r::TOC16_HI => store_half(code, value, Half::Hi, false),
            r::TOC16_HA => store_half(code, value, Half::Ha, false),
            r::REL16 => store_half(code, distance, Half::Whole, false),
            r::REL16_LO => store_half(code, distance, Half::Lo, false),
            r::REL16_HI => store_half(code, distance, Half::Hi, false),
            r::REL16_HA => store_half(code, distance, Half::Ha, false),
            r::REL24 => store_branch(code, place, absolute),
            unknown => Err(RelocError::UnknownType(unknown)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        r::name(r_type)
    }

    fn by_way(r_type: u32) -> ByWay {
        if r_type == r::REL24 { ByWay::Slot { own: 0 } } else { ByWay::None }
    }

    /// Makes of the `nop` behind the call what puts the caller's r2 back, as linkers do (ELFv2, "Function Calls": the
    /// call site has a `nop` there if the callee may have another TOC). Only a branch that links can go to a slot for
    /// calls: gcc makes tail calls only where it knows that caller and callee share a TOC.
    fn relocate_to_slot(relocation: &Relocation, slot: Addr, code: &mut [u8]) -> Result<usize, RelocError> {
        if relocation.r_type != r::REL24 {
            return Err(RelocError::UnknownType(relocation.r_type));
        }
        let (Some(branch), Some(behind)) = (insn(code, 0), insn(code, 4)) else {
            return Err(RelocError::ShortCode);
        };
        if branch & 1 == 0 && branch >> 26 == 18 {
            return Err(RelocError::TailCall);
        }
        if !matches!(behind, NOP | RESTORE_TOC) {
            return Err(RelocError::NoRestore(behind.to_le_bytes()));
        }
        store_branch(code, relocation.place, slot)?;
        code[4..8].copy_from_slice(&RESTORE_TOC.to_le_bytes());
        Ok(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: u64 = 0xc008_0000_0100_0000;

    fn apply<const N: usize>(
        r_type: u32,
        symbol: u64,
        addend: i64,
        mut code: [u8; N],
    ) -> Result<[u8; N], RelocError> {
        let before = code;
        let relocation = Relocation { r_type, place: PLACE, symbol, addend };
        match Ppc64::relocate(&relocation, &mut code) {
            Ok(_) => Ok(code),
            Err(error) => {
                assert_eq!(code, before, "changed by a relocation that failed");
                Err(error)
            }
        }
    }

    fn overflow<T>(value: i64, bits: u32) -> Result<T, RelocError> {
        Err(RelocError::Overflow { value, bits })
    }

    #[test]
    fn data() {
        let symbol = 0xc000_0000_0012_3456;
        assert_eq!(apply(r::ADDR64, symbol, 2, [0; 8]), Ok((symbol + 2).to_le_bytes()));
        assert_eq!(apply(r::ADDR32, 0xffff_fffe, 1, [0; 4]), Ok([0xff; 4]));
        assert_eq!(apply(r::ADDR32, 0, -1, [0; 4]), Ok([0xff; 4]));
        assert_eq!(apply(r::ADDR32, 1 << 32, 0, [0; 4]), overflow(1 << 32, 32));
        assert_eq!(apply(r::REL64, PLACE - 8, 0, [0; 8]), Ok((-8_i64).to_le_bytes()));
        assert_eq!(apply(r::REL32, PLACE, -8, [0; 4]), Ok((-8_i32).to_le_bytes()));
        assert_eq!(apply(r::REL32, PLACE + (1 << 31), 0, [0; 4]), overflow(1 << 31, 32));
        assert_eq!(apply(r::TOC, symbol, 77, [0; 8]), Ok(symbol.to_le_bytes()));
        assert_eq!(apply(r::ADDR64, symbol, 0, [0; 7]), Err(RelocError::ShortCode));
        assert_eq!(apply(999, symbol, 0, [0; 8]), Err(RelocError::UnknownType(999)));
    }

    #[test]
    fn halves_of_a_toc_offset() {
        // addis r31,r2,…; ld r31,…(r31), the distance from the TOC pointer being 0x1_9ff8.
        assert_eq!(apply(r::TOC16_HA, 0x1_9ff0, 8, 0x3fe2_0000_u32.to_le_bytes()), Ok([2, 0, 0xe2, 0x3f]));
        let ld = 0xebff_0001_u32.to_le_bytes();
        assert_eq!(apply(r::TOC16_LO_DS, 0x1_9ff0, 8, ld), Ok([0xf9, 0x9f, 0xff, 0xeb]));
        assert_eq!(apply(r::TOC16_LO_DS, 0x1_9ff2, 0, ld), Err(RelocError::Misaligned(0x1_9ff2)));
        assert_eq!(apply(r::TOC16_HI, 0x1_9ff0, 0, [0; 2]), Ok([1, 0]));
        assert_eq!(apply(r::TOC16_LO, 0x1_9ff0, 0, [0; 2]), Ok([0xf0, 0x9f]));
        assert_eq!(apply(r::TOC16, 0, -0x8000, [0; 2]), Ok([0, 0x80]));
        assert_eq!(apply(r::TOC16, 0x8000, 0, [0; 2]), overflow(0x8000, 16));
        assert_eq!(apply(r::TOC16_DS, 0x7ffc, 0, [3, 0]), Ok([0xff, 0x7f]));
        assert_eq!(apply(r::TOC16_DS, 0x8000, 0, [3, 0]), overflow(0x8000, 16));
        assert_eq!(apply(r::TOC16_HA, 0x7fff_7fff, 0, [0; 2]), Ok([0xff, 0x7f]));
        assert_eq!(apply(r::TOC16_HA, 0x7fff_8000, 0, [0; 2]), overflow(0x7fff_8000, 32));
    }

    #[test]
    fn global_entry() {
        // addis r2,r12,.TOC.-.@ha; addi r2,r2,.TOC.-.@l, the second relocation being 4 bytes on.
        let toc = PLACE + 0x3_9000;
        assert_eq!(apply(r::REL16_HA, toc, 0, 0x3c4c_0000_u32.to_le_bytes()), Ok([4, 0, 0x4c, 0x3c]));
        assert_eq!(apply(r::REL16_LO, toc, 4, 0x3842_0000_u32.to_le_bytes()), Ok([4, 0x90, 0x42, 0x38]));
    }

    #[test]
    fn branches() {
        let bl = 0x4800_0001_u32.to_le_bytes();
        assert_eq!(apply(r::REL24, PLACE + 0x100, 8, bl), Ok(0x4800_0109_u32.to_le_bytes()));
        assert_eq!(apply(r::REL24, PLACE - 4, 0, bl), Ok(0x4bff_fffd_u32.to_le_bytes()));
        assert_eq!(apply(r::REL24, PLACE + 0x200_0000, 0, bl), overflow(0x200_0000, 26));
        assert_eq!(apply(r::REL24, PLACE + 2, 0, bl), Err(RelocError::Misaligned(2)));
        let bctrl = 0x4e80_0421_u32.to_le_bytes();
        assert_eq!(apply(r::REL24, PLACE, 0, bctrl), Err(RelocError::UnexpectedCode(bctrl)));
        assert!(Ppc64::is_branch(r::REL24) && !Ppc64::is_branch(r::ADDR64));
    }

    #[test]
    fn a_call_through_a_slot_restores_the_toc_pointer() {
        let call = |insns: [u32; 2]| {
            let mut code = insns.map(u32::to_le_bytes).concat();
            let before = code.clone();
            let relocation = Relocation { r_type: r::REL24, place: PLACE, symbol: 1 << 40, addend: 0 };
            let result = Ppc64::relocate_to_slot(&relocation, PLACE + 0x100, &mut code);
            assert!(result.is_ok() || code == before, "changed by a relocation that failed");
            result.map(|len| {
                assert_eq!(len, 8);
                [0, 4].map(|at| insn(&code, at).unwrap())
            })
        };
        assert_eq!(call([0x4800_0001, NOP]), Ok([0x4800_0101, RESTORE_TOC]));
        assert_eq!(call([0x4800_0001, RESTORE_TOC]), Ok([0x4800_0101, RESTORE_TOC]), "again");
        assert_eq!(call([0x4800_0000, NOP]), Err(RelocError::TailCall));
        let li = 0x3860_0001_u32;
        assert_eq!(call([0x4800_0001, li]), Err(RelocError::NoRestore(li.to_le_bytes())));
        let far = Relocation { r_type: r::REL24, place: PLACE, symbol: 0, addend: 0 };
        let mut code = [0x4800_0001, NOP].map(u32::to_le_bytes).concat();
        let overflow = Err(RelocError::Overflow { value: 0x200_0000, bits: 26 });
        assert_eq!(Ppc64::relocate_to_slot(&far, PLACE + 0x200_0000, &mut code), overflow);
        assert_eq!(code[4..], NOP.to_le_bytes(), "whole or not at all");
        assert_eq!(Ppc64::relocate_to_slot(&far, PLACE, &mut code[..7]), Err(RelocError::ShortCode));
    }
}
