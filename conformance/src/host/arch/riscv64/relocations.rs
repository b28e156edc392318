// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of riscv64 modules, each on an instruction that it belongs to.
//!
//! Limits are those of psABI, "Relocations". Of 32-bit data the kernel's loader takes what is unsigned
//! (apply_r_riscv_32_rela() in arch/riscv/kernel/module.c).

use crate::host::description::{Limits, RelocSample, Value};

/// What two instructions reach of which one adds twelve signed bits to the twenty of the other, in steps of `step`.
const fn halves(step: i64) -> Limits {
    Limits::Range { min: -0x8000_0800, max: 0x7fff_f800 - step, step }
}

/// Data.
const fn data(name: &'static str, code: &'static str) -> RelocSample {
    RelocSample::new(name, code, Value::Absolute, &[0x12, 0x1234_5678_9abc_def0], Limits::None)
}

/// Data from which the value is subtracted. psABI and kernel: V - S - A; GNU ld 2.40: V - S + A.
const fn subtrahend(name: &'static str, code: &'static str) -> RelocSample {
    data(name, code).without_addend()
}

/// A half of an absolute address.
const fn absolute(name: &'static str, code: &'static str) -> RelocSample {
    RelocSample::new(name, code, Value::Absolute, &[0x1234_5678, 0x1234_5fff, -0x1000], halves(1))
}

/// A half of a distance.
const fn relative(name: &'static str, code: &'static str) -> RelocSample {
    RelocSample::new(name, code, Value::Distance, &[0x1234_5678, 0x1234_5fff, -0x1000], halves(1))
}

/// A distance of `bits` bits between instructions.
const fn distance(name: &'static str, code: &'static str, bits: u32) -> RelocSample {
    RelocSample::new(name, code, Value::Distance, &[0x40, -0x40], Limits::signed(bits - 1, 2))
}

/// `auipc` and `jalr`.
const fn pair(name: &'static str, code: &'static str) -> RelocSample {
    RelocSample::new(name, code, Value::Distance, &[0x1234_5678, 0x800, -0x800], halves(2))
}

pub(super) const RELOCATIONS: &[RelocSample] = &[
    RelocSample::new("32", "place: .word 0", Value::Absolute, &[0x100], Limits::unsigned(32)),
    data("64", "place: .dword 0"),
    RelocSample::new("32_PCREL", "place: .word 0", Value::Distance, &[0x100], Limits::signed(32, 1)),
    data("ADD8", "place: .byte 0x21"),
    data("ADD16", "place: .half 0x4321"),
    data("ADD32", "place: .word 0x87654321"),
    data("ADD64", "place: .dword 0xfedcba9876543210"),
    subtrahend("SUB8", "place: .byte 0x21"),
    subtrahend("SUB16", "place: .half 0x4321"),
    subtrahend("SUB32", "place: .word 0x87654321"),
    subtrahend("SUB64", "place: .dword 0xfedcba9876543210"),
    subtrahend("SUB6", "place: .byte 0xa1"),
    data("SET6", "place: .byte 0xa1"),
    data("SET8", "place: .byte 0"),
    data("SET16", "place: .half 0"),
    data("SET32", "place: .word 0"),
    absolute("HI20", "place: lui a0, 0"),
    absolute("LO12_I", "place: ld a0, 0(a0)"),
    absolute("LO12_S", "place: sd a1, 0(a0)"),
    relative("PCREL_HI20", "place: auipc a0, 0"),
    relative("PCREL_LO12_I", "high: auipc a0, 0\nnop\nplace: addi a0, a0, 0").low_half("PCREL_HI20"),
    relative("PCREL_LO12_S", "high: auipc a0, 0\nnop\nplace: sd a1, 0(a0)").low_half("PCREL_HI20"),
    relative("GOT_HI20", "place: auipc a0, 0").literal(),
    // beq a0, a1, .; c.beqz a0, .; c.j .; jal .: the assembler has relocations of its own for these.
    distance("BRANCH", "place: .word 0x00b50063", 13),
    distance("RVC_BRANCH", "place: .half 0xc101", 9),
    distance("RVC_JUMP", "place: .half 0xa001", 12),
    distance("JAL", "place: .word 0x000000ef", 21).call(),
    pair("CALL", "place: auipc ra, 0\njalr 0(ra)").call(),
    pair("CALL_PLT", "place: auipc ra, 0\njalr 0(ra)").call(),
    pair("CALL_PLT", "place: auipc t1, 0\njr t1").jump(),
];
