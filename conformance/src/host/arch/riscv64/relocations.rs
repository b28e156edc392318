// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of riscv64 modules, each on an instruction that it belongs to.
//!
//! Limits are those of the fields, as the unprivileged manual draws them. Of a value in two halves they are those of `auipc` and
//! `lui`, to which a signed number of twelve bits is added: 2^11 less than the field's at both ends (psABI, "Code models";
//! `riscv_insn_valid_32bit_offset()` in arch/riscv/kernel/module.c). Data are whatever the linker makes of them, cut off,
//! but for `32`, which is unsigned to the kernel's loader, and `32_PCREL`.
//!
//! Instructions that the assembler would relocate itself are given as numbers, as objdump shows them.

use crate::host::description::{Limits, RelocSample, Value};

/// What two halves make.
const HALVES: Limits = Limits::Range { min: -0x8000_0800, max: 0x7fff_f7ff, step: 1 };
/// The same for a call, which goes to an instruction.
const CALL: Limits = Limits::Range { min: -0x8000_0800, max: 0x7fff_f7fe, step: 2 };
/// Around where the low half changes its sign, and the high half with it.
const VALUES: &[i64] = &[0x1234_5678, 0x1234_5800, 0x1234_57ff, -0x1234_5678, 0x7ff, 0x800, -0x800, -0x801];
/// Data that are added to something.
const ANY: &[i64] = &[0x1234_5678, 0x1234_5678_9abc_def0, -2];

/// Data that are cut off. To what `SUB…` subtracts the linker (binutils 2.40, `riscv_elf_relocate_section`) does not add the addend, but
/// adds it to the difference; the psABI and the kernel's loader subtract it.
const fn data(name: &'static str, code: &'static str) -> RelocSample {
    RelocSample::new(name, code, Value::Absolute, ANY, Limits::None)
}

/// A displacement of `bits` bits, of which the lowest is not stored.
const fn displacement(name: &'static str, code: &'static str, bits: u32) -> RelocSample {
    RelocSample::new(name, code, Value::Distance, &[0x54, -0x56, 0xaa, -0xac], Limits::signed(bits - 1, 2))
}

/// Half of a value.
const fn half(name: &'static str, code: &'static str, value: Value) -> RelocSample {
    RelocSample::new(name, code, value, VALUES, HALVES)
}

/// `auipc` and `jalr`.
const fn call(name: &'static str, code: &'static str) -> RelocSample {
    RelocSample::new(name, code, Value::Distance, &[0x1234_5678, 0x800, -0x800, -0x802], CALL)
}

/// Low halves, of ld a0, 0(a0), addi a0, a0, 0 and sd a1, 0(a0), with the label `high` at auipc a0, 0.
const LOAD: &str = "high: .word 0x00000517\nnop\nplace: .word 0x00053503";
const ADD: &str = "high: .word 0x00000517\nplace: .word 0x00050513";
const STORE: &str = "high: .word 0x00000517\nplace: .word 0x00b53023";

pub(super) const RELOCATIONS: &[RelocSample] = &[
    RelocSample::new("32", "place: .word 0", Value::Absolute, &[0x1234_5678], Limits::unsigned(32)),
    data("64", "place: .dword 0"),
    RelocSample::new("32_PCREL", "place: .word 0", Value::Distance, &[0x124, -0x124], Limits::signed(32, 1)),
    data("ADD8", "place: .byte 0x95"),
    data("ADD16", "place: .half 0x9505"),
    data("ADD32", "place: .word 0x95000005"),
    data("ADD64", "place: .dword 0x9500000000000005"),
    data("SUB8", "place: .byte 0x95").without_addend(),
    data("SUB16", "place: .half 0x9505").without_addend(),
    data("SUB32", "place: .word 0x95000005").without_addend(),
    data("SUB64", "place: .dword 0x9500000000000005").without_addend(),
    data("SUB6", "place: .byte 0x95").without_addend(),
    data("SET6", "place: .byte 0x95"),
    data("SET8", "place: .byte 0"),
    data("SET16", "place: .half 0"),
    data("SET32", "place: .word 0"),
    // beq a0, a1; c.beqz a0; c.j
    displacement("BRANCH", "place: .word 0x00b50063", 13),
    displacement("RVC_BRANCH", "place: .half 0xc101", 9),
    displacement("RVC_JUMP", "place: .half 0xa001", 12),
    // jal ra; j
    displacement("JAL", "place: .word 0x000000ef", 21).call(),
    displacement("JAL", "place: .word 0x0000006f", 21).jump(),
    // auipc ra, 0; jalr ra, 0(ra), and auipc t1, 0; jr t1
    call("CALL", "place: .word 0x00000097, 0x000080e7").call(),
    call("CALL_PLT", "place: .word 0x00000097, 0x000080e7").call(),
    call("CALL_PLT", "place: .word 0x00000317, 0x00030067").jump(),
    // auipc a0, 0, and ld a0, 0(a0)
    half("GOT_HI20", "place: .word 0x00000517", Value::Distance).literal(),
    half("PCREL_LO12_I", LOAD, Value::Distance).literal().low_half("GOT_HI20"),
    half("PCREL_HI20", "place: .word 0x00000517", Value::Distance),
    half("PCREL_LO12_I", LOAD, Value::Distance).low_half("PCREL_HI20"),
    half("PCREL_LO12_I", ADD, Value::Distance).low_half("PCREL_HI20"),
    half("PCREL_LO12_S", STORE, Value::Distance).low_half("PCREL_HI20"),
    // lui a0, 0
    half("HI20", "place: .word 0x00000537", Value::Absolute),
    data("LO12_I", "place: .word 0x00053503"),
    data("LO12_S", "place: .word 0x00b53023"),
];
