// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of arm64 modules, each on an instruction that it belongs to.
//!
//! Limits are those of AAELF64, but for 16- and 32-bit data: there the kernel's loader takes what is unsigned for
//! absolute and signed for relative types (reloc_data() in arch/arm64/kernel/module.c), AAELF64 either.

use crate::host::description::{Limits, RelocSample, Value};

const ANY: &[i64] = &[0x1234_5678, 0x1234_5678_9abc_def0];

/// A MOVW group of `group`: unsigned, bits 16 × group to 16 × group + 15.
const fn uabs(name: &'static str, code: &'static str, group: u32) -> RelocSample {
    RelocSample::new(name, code, Value::Absolute, &[0x1234], Limits::unsigned(16 * group + 16))
}

/// The same, signed: MOVZ or MOVN.
const fn signed(name: &'static str, code: &'static str, value: Value, group: u32) -> RelocSample {
    RelocSample::new(name, code, value, &[0x1234, -0x1234, -1], Limits::signed(16 * group + 17, 1))
}

/// The same, unchecked.
const fn part(name: &'static str, code: &'static str, value: Value) -> RelocSample {
    RelocSample::new(name, code, value, ANY, Limits::None)
}

/// The low twelve bits for an access of `size` bytes.
const fn lo12(name: &'static str, code: &'static str, size: i64) -> RelocSample {
    let limits = if size == 1 { Limits::None } else { Limits::Step(size) };
    RelocSample::new(name, code, Value::Absolute, &[0x1_2340, 0xff0, 0x10], limits)
}

/// A distance in words, in `bits` bits.
const fn words(name: &'static str, code: &'static str, bits: u32) -> RelocSample {
    RelocSample::new(name, code, Value::Distance, &[0x100, -0x100], Limits::signed(bits, 4))
}

/// A distance in bytes or pages.
const fn distance(
    name: &'static str,
    code: &'static str,
    value: Value,
    values: &'static [i64],
    limits: Limits,
) -> RelocSample {
    RelocSample::new(name, code, value, values, limits)
}

/// 21 bits of pages; the place within the last one is free.
const PAGES: Limits = Limits::Range { min: -0x1_0000_0000, max: 0xffff_ffff, step: 1 };

pub(super) const RELOCATIONS: &[RelocSample] = &[
    part("ABS64", "place: .xword 0", Value::Absolute),
    part("PREL64", "place: .xword 0", Value::Distance),
    distance("ABS32", "place: .word 0", Value::Absolute, &[0x100], Limits::unsigned(32)),
    distance("PREL32", "place: .word 0", Value::Distance, &[0x100], Limits::signed(32, 1)),
    distance("ABS16", "place: .hword 0", Value::Absolute, &[0x100], Limits::unsigned(16)),
    distance("PREL16", "place: .hword 0", Value::Distance, &[0x100], Limits::signed(16, 1)),
    uabs("MOVW_UABS_G0", "place: movz x0, #0", 0),
    uabs("MOVW_UABS_G1", "place: movz x0, #0, lsl #16", 1),
    uabs("MOVW_UABS_G2", "place: movz x0, #0, lsl #32", 2),
    part("MOVW_UABS_G0_NC", "place: movk x0, #0", Value::Absolute),
    part("MOVW_UABS_G1_NC", "place: movk x0, #0, lsl #16", Value::Absolute),
    part("MOVW_UABS_G2_NC", "place: movk x0, #0, lsl #32", Value::Absolute),
    part("MOVW_UABS_G3", "place: movz x0, #0, lsl #48", Value::Absolute),
    signed("MOVW_SABS_G0", "place: movz x0, #0", Value::Absolute, 0),
    signed("MOVW_SABS_G1", "place: movz x0, #0, lsl #16", Value::Absolute, 1),
    signed("MOVW_SABS_G2", "place: movz x0, #0, lsl #32", Value::Absolute, 2),
    signed("MOVW_PREL_G0", "place: movz x0, #0", Value::Distance, 0),
    signed("MOVW_PREL_G1", "place: movz x0, #0, lsl #16", Value::Distance, 1),
    signed("MOVW_PREL_G2", "place: movz x0, #0, lsl #32", Value::Distance, 2),
    part("MOVW_PREL_G0_NC", "place: movk x0, #0", Value::Distance),
    part("MOVW_PREL_G1_NC", "place: movk x0, #0, lsl #16", Value::Distance),
    part("MOVW_PREL_G2_NC", "place: movk x0, #0, lsl #32", Value::Distance),
    part("MOVW_PREL_G3", "place: movz x0, #0, lsl #48", Value::Distance),
    words("LD_PREL_LO19", "place: ldr x0, .", 19),
    distance("ADR_PREL_LO21", "place: adr x0, .", Value::Distance, &[0x101, -3], Limits::signed(21, 1)),
    distance(
        "ADR_PREL_PG_HI21",
        "place: .inst 0x90000000 // adrp x0",
        Value::PageDistance,
        &[0x1234_5678],
        PAGES,
    ),
    distance(
        "ADR_PREL_PG_HI21_NC",
        "place: .inst 0x90000000 // adrp x0",
        Value::PageDistance,
        &[0x1000, -0x1_0000_0000, 0x1234_5678_9000],
        Limits::None,
    ),
    lo12("ADD_ABS_LO12_NC", "place: add x0, x0, #0", 1),
    lo12("LDST8_ABS_LO12_NC", "place: ldrb w0, [x0]", 1),
    lo12("LDST16_ABS_LO12_NC", "place: ldrh w0, [x0]", 2),
    lo12("LDST32_ABS_LO12_NC", "place: ldr w0, [x0]", 4),
    lo12("LDST64_ABS_LO12_NC", "place: ldr x0, [x0]", 8),
    lo12("LDST128_ABS_LO12_NC", "place: ldr q0, [x0]", 16),
    distance(
        "ADR_GOT_PAGE",
        "place: .inst 0x90000000 // adrp x0",
        Value::PageDistance,
        &[0x1234_5678],
        PAGES,
    )
    .literal(),
    lo12("LD64_GOT_LO12_NC", "place: ldr x0, [x0]", 8).literal(),
    words("TSTBR14", "place: tbz x0, #5, .", 14),
    words("CONDBR19", "place: b.eq .", 19),
    words("JUMP26", "place: b .", 26).jump(),
    words("CALL26", "place: bl .", 26).call(),
];
