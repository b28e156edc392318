// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! s390, for the host suite.

mod branches;
mod sites;
mod stacks;

use klp_core::branch::Reach;
use klp_core::ftrace::RegsLayout;
use klp_core::patchable::Lack;
use klp_host::Arch;

use super::super::description::{
    BlockSample, Description, Files, Limits, Manuals, PatchableSample, RelocSample, Slot, Value,
};
use super::super::evaluate::{Machine, Next, number};
use super::super::oracle::{Insn, SystemZ};

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "s390",
    host: || Arch::by_name("s390"),
    files: Files::HERE,
    oracle: || Box::new(SystemZ::default()),
    manuals: Manuals {
        branches: "PoP ch. 7, \"Branch Relative and Save Long\", \"Branch Relative on Condition Long\"",
        slots: "ELF ABI s390x Supplement, \"Registers\" (r0, r1 are volatile), \"Procedure Linkage Table\"",
        sites: "gcc -mhotpatch, -mfentry; arch/s390/kernel/ftrace.c",
        trampoline: "arch/s390/kernel/mcount.S, ftrace_common",
        relocations: "ELF ABI s390x Supplement, \"Relocation Types\"; arch/s390/kernel/module.c",
        frames: "ELF ABI s390x Supplement, \"The Stack Frame\"; gcc -mbackchain -mpacked-stack",
    },
    text: &[0x3ff_fec0_0000, 0x3ff_fecd_c998, 0x41_2378, 0x3ff_8010_2340],
    reach: Reach { min: -(1 << 32), max: (1 << 32) - 2, align: 2 },
    insn_align: 2,
    branches: branches::BRANCHES,
    slot: Slot {
        may_change: &["r0", "r1"],
        landing_pads: &[],
        hold_target: &[],
        may_store: |_| false,
        calls_save: None,
        behind_call: ["", ""],
        between_objects: false,
        program: include_str!("../programs/slot_s390.S"),
        effect: slot_effect,
    },
    sites: sites::SITES,
    is_site,
    // offsetof in the headers of Debian's 6.1.0-50-s390x and 6.12.95+deb12-s390x.
    blocks: &[
        BlockSample { kernel: "debian-6.1", layout: PT_REGS },
        BlockSample { kernel: "debian-6.12", layout: PT_REGS },
    ],
    reloc_prefix: "R_390_",
    relocations: &[
        // Absolute fields are unsigned and PC-relative ones signed, as in the kernel's loader (apply_rela_bits()).
        RelocSample::new("8", "place: .byte 0", Value::Absolute, &[0x12], Limits::unsigned(8)),
        RelocSample::new(
            "12",
            ".byte 0x58, 0x10\nplace: .short 0x2000",
            Value::Absolute,
            &[0x123],
            Limits::unsigned(12),
        ),
        RelocSample::new("16", "place: .short 0", Value::Absolute, &[0x1234], Limits::unsigned(16)),
        RelocSample::new(
            "20",
            ".byte 0xe3, 0x10\nplace: .byte 0x20, 0, 0, 0x58",
            Value::Absolute,
            &[0x1_2345, -0x1_2345],
            Limits::signed(20, 1),
        ),
        RelocSample::new("32", "place: .long 0", Value::Absolute, &[0x1234_5678], Limits::unsigned(32)),
        RelocSample::new("64", "place: .quad 0", Value::Absolute, &[0x1234_5678], Limits::None),
        RelocSample::new("PC16", "place: .short 0", Value::Distance, &[0x124], Limits::signed(16, 1)),
        RelocSample::new("PC32", "place: .long 0", Value::Distance, &[0x124], Limits::signed(32, 1)),
        RelocSample::new("PC64", "place: .quad 0", Value::Distance, &[0x124], Limits::None),
        // No instruction has a field of these two types.
        RelocSample::new("PLT32", "place: .long 0", Value::Distance, &[0x124], Limits::signed(32, 1)),
        RelocSample::new("PLT64", "place: .quad 0", Value::Distance, &[0x124], Limits::None),
        RelocSample::new(
            "PC16DBL",
            ".byte 0xa7, 0xf4\nplace: .short 0",
            Value::Distance,
            &[0x124],
            Limits::signed(16, 2),
        ),
        RelocSample::new(
            "PLT16DBL",
            ".byte 0xa7, 0xe5\nplace: .short 0",
            Value::Distance,
            &[0x124],
            Limits::signed(16, 2),
        )
        .call(),
        RelocSample::new(
            "PC32DBL",
            ".byte 0xc0, 0x10\nplace: .long 0",
            Value::Distance,
            &[0x124],
            Limits::signed(32, 2),
        ),
        RelocSample::new(
            "PLT32DBL",
            ".byte 0xc0, 0xe5\nplace: .long 0",
            Value::Distance,
            &[0x124],
            Limits::signed(32, 2),
        )
        .call(),
        RelocSample::new(
            "PLT32DBL",
            ".byte 0xc0, 0xf4\nplace: .long 0",
            Value::Distance,
            &[0x124],
            Limits::signed(32, 2),
        )
        .jump(),
        RelocSample::new(
            "GOTENT",
            ".byte 0xc4, 0x18\nplace: .long 0",
            Value::Distance,
            &[0x1240],
            Limits::signed(32, 2),
        )
        .literal(),
        RelocSample::new(
            "GOTPLTENT",
            ".byte 0xc4, 0x18\nplace: .long 0",
            Value::Distance,
            &[0x1240],
            Limits::signed(32, 2),
        )
        .literal(),
    ],
    markers: &[],
    got_entry: 24,
    got_distance: |_| 0x20_0000,
    // arch/s390/Makefile, and what optimises otherwise.
    module_flags: &[
        &[
            "-fPIC",
            "-mpacked-stack",
            "-mbackchain",
            "-msoft-float",
            "-march=z10",
            "-pg",
            "-mrecord-mcount",
            "-mnop-mcount",
            "-mfentry",
        ],
        &["-fPIC", "-mpacked-stack", "-mbackchain", "-msoft-float", "-march=z15"],
        &["-fPIC", "-mpacked-stack", "-mbackchain", "-msoft-float", "-march=z10", "-Os"],
        &["-fno-PIC", "-mpacked-stack", "-mbackchain", "-msoft-float", "-march=z10"],
    ],
    // The kernel's, and room for slots.
    patchable: &[
        PatchableSample {
            options: &["-mhotpatch=0,3"],
            before: 0,
            after: 6,
            landing_pad: 0,
            in_section: false,
            one_nop: true,
            lack: Some(Lack::Before { found: 0, needed: 32 }),
        },
        PatchableSample {
            options: &["-mhotpatch=12,3"],
            before: 24,
            after: 6,
            landing_pad: 0,
            in_section: false,
            one_nop: true,
            lack: Some(Lack::Before { found: 24, needed: 32 }),
        },
        PatchableSample {
            options: &["-mhotpatch=16,3"],
            before: 32,
            after: 6,
            landing_pad: 0,
            in_section: false,
            one_nop: true,
            lack: None,
        },
        PatchableSample {
            options: &["-mhotpatch=20,6"],
            before: 40,
            after: 12,
            landing_pad: 0,
            in_section: false,
            one_nop: true,
            lack: None,
        },
        PatchableSample {
            options: &["-mhotpatch=16,0"],
            before: 32,
            after: 0,
            landing_pad: 0,
            in_section: false,
            one_nop: true,
            lack: Some(Lack::Entry { found: 0, needed: 6 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=20,16"],
            before: 32,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: None,
        },
    ],
    linker: &["--no-relax", "-z", "noexecstack"],
    stacks: stacks::STACKS,
    saved_return_addresses: &[],
    vectors: Some(&["-march=z14"]),
    // arch/s390/Makefile.
    no_fpu: &["-msoft-float", "-march=z10"],
};

const PT_REGS: RegsLayout = RegsLayout { size: 200, pc: 16, sp: 144, ra: 136, gprs: 24 };

/// `brcl 0,…` (never taken), `jg …`, `brasl %r0,…`.
fn is_site(insn: &Insn) -> bool {
    let (mnemonic, words) = insn.words();
    match (mnemonic, words.first()) {
        ("brcl", Some(&"0")) | ("jg" | "jgnop", _) | ("brasl", Some(&"%r0")) => insn.len == 6,
        _ => false,
    }
}

fn slot_effect(machine: &mut Machine, insn: &Insn) -> Option<Next> {
    let (mnemonic, words) = insn.words();
    match (mnemonic, &words[..]) {
        ("larl", [to, addr]) => machine.set(register(to)?, number(addr)?),
        ("lgrl", [to, addr]) => {
            let word = machine.load(number(addr)?)?;
            machine.set(register(to)?, word);
        }
        ("basr", [to, "%r0"]) => machine.set(register(to)?, machine.pc.wrapping_add(2)),
        ("lg", [to, memory]) => {
            let (displacement, base) = memory.strip_suffix(')')?.split_once('(')?;
            let addr = machine.get(register(base)?).wrapping_add(number(displacement)?);
            let word = machine.load(addr)?;
            machine.set(register(to)?, word);
        }
        ("llihf", [to, value]) => machine.set(register(to)?, number(value)? << 32),
        ("oilf" | "iilf", [to, value]) => {
            let to = register(to)?;
            machine.set(to, machine.get(to) & !0xffff_ffff | number(value)?);
        }
        // How expolines branch: `br` carried out from afar, never predicted.
        ("exrl", ["%r0", addr]) => return Some(Next::Execute(number(addr)?)),
        ("br", [target]) => return Some(Next::At(machine.get(register(target)?))),
        ("jg", [target]) => return Some(Next::At(number(target)?)),
        _ => return None,
    }
    Some(Next::Insn)
}

fn register(text: &str) -> Option<&str> {
    text.strip_prefix('%')
}
