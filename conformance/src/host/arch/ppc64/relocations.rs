// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of ppc64 modules, each on an instruction that it belongs to.

use crate::host::description::{Limits, RelocSample, Value};

/// `#lo` of a value: what does not fit is cut off.
const LO: &[i64] = &[0x1234_5678, -4, 0xfffc, 0x1_8000];
/// `#hi` and `#ha` of a value, which must be one of 32 bits; with `#ha` after the adjustment.
const HI: Limits = Limits::signed(32, 1);
const HA: Limits = Limits::Range { min: -0x8000_8000, max: 0x7fff_7fff, step: 1 };
const VALUES: &[i64] = &[0x1234_5678, 0x1234_8678, -0x1234_5678, 0x7fff, 0xffff];

pub(super) const RELOCATIONS: &[RelocSample] = &[
    RelocSample::new("ADDR64", "place: .quad 0", Value::Absolute, &[0x1234_5678], Limits::None),
    RelocSample::new("REL64", "place: .quad 0", Value::Distance, &[0x1234_5678], Limits::None),
    RelocSample::new(
        "ADDR32",
        "place: .long 0",
        Value::Absolute,
        &[0x1234_5678],
        Limits::Range { min: -0x8000_0000, max: 0xffff_ffff, step: 1 },
    ),
    RelocSample::new("REL32", "place: .long 0", Value::Distance, &[0x1234_5678], Limits::signed(32, 1)),
    RelocSample::new("REL24", "place: bl .", Value::Distance, &[0x100], Limits::signed(24, 4)).call(),
    RelocSample::new("REL24", "place: b .", Value::Distance, &[-0x100], Limits::signed(24, 4)).jump(),
    RelocSample::new("REL16", "place: li 3, 0", Value::Distance, &[0x100], Limits::signed(16, 1)),
    RelocSample::new("REL16_LO", "place: addi 2, 2, 0", Value::Distance, LO, Limits::None),
    RelocSample::new("REL16_HI", "place: addis 2, 12, 0", Value::Distance, VALUES, HI),
    RelocSample::new("REL16_HA", "place: addis 2, 12, 0", Value::Distance, VALUES, HA),
    RelocSample::new("TOC16", "place: addi 3, 2, 0", Value::TocOffset, &[0x100], Limits::signed(16, 1)),
    RelocSample::new("TOC16_DS", "place: ld 3, 0(2)", Value::TocOffset, &[0x100], Limits::signed(14, 4)),
    RelocSample::new("TOC16_LO", "place: addi 3, 3, 0", Value::TocOffset, LO, Limits::None),
    RelocSample::new("TOC16_LO_DS", "place: ld 3, 0(3)", Value::TocOffset, LO, Limits::Step(4)),
    RelocSample::new("TOC16_HI", "place: addis 3, 2, 0", Value::TocOffset, VALUES, HI),
    RelocSample::new("TOC16_HA", "place: addis 3, 2, 0", Value::TocOffset, VALUES, HA),
    RelocSample::new("TOC", "place: .quad 0", Value::TocPointer, &[0x100], Limits::None),
];
