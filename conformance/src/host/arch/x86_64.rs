// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! x86_64, for the host suite.

mod branches;
mod orc;
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
use super::super::oracle::{Flow, Iced, Insn};

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "x86_64",
    host: || Arch::by_name("x86_64"),
    files: Files::HERE,
    oracle: || Box::new(Iced),
    manuals: Manuals {
        branches: "SDM vol. 2, \"CALL\", \"JMP\"",
        slots: "psABI §3.2.3 (%r11 is scratch), §5.2 (procedure linkage table)",
        sites: "gcc -mfentry; arch/x86/kernel/ftrace.c",
        trampoline: "arch/x86/kernel/ftrace_64.S, ftrace_caller and ftrace_regs_caller",
        relocations: "psABI §4.4, Relocation",
        frames: "psABI §3.2.2, The Stack Frame; arch/x86/include/asm/frame.h",
    },
    text: &[0xffff_ffff_8100_0000, 0xffff_ffff_8fb6_69e0, 0xffff_ffff_c010_2340],
    // rel32 counts from the end of the five bytes.
    reach: Reach { min: -(1 << 31) + 5, max: (1 << 31) - 1 + 5, align: 1 },
    insn_align: 1,
    branches: branches::BRANCHES,
    slot: Slot {
        may_change: &["r11"],
        landing_pads: &["endbr64"],
        hold_target: &[],
        // The word below the stack pointer: the kernel is built with -mno-red-zone.
        may_store: |addr| addr == Machine::initial("rsp") - 8,
        calls_save: None,
        behind_call: ["", ""],
        between_objects: false,
        program: include_str!("../programs/slot_x86_64.S"),
        effect: slot_effect,
    },
    sites: sites::SITES,
    is_site,
    // offsetof in the headers of Debian's 6.1.0-56-amd64 and 6.12.117+deb12-amd64.
    blocks: &[
        BlockSample { kernel: "debian-6.1", layout: PT_REGS },
        BlockSample { kernel: "debian-6.12", layout: PT_REGS },
    ],
    reloc_prefix: "R_X86_64_",
    relocations: &[
        RelocSample::new("64", "place: .quad 0", Value::Absolute, &[0x100], Limits::None),
        RelocSample::new("PC64", "place: .quad 0", Value::Distance, &[0x100], Limits::None),
        RelocSample::new("32", "place: .long 0", Value::Absolute, &[0x100], Limits::unsigned(32)),
        RelocSample::new("32S", "place: .long 0", Value::Absolute, &[0x100], Limits::signed(32, 1)),
        RelocSample::new("PC32", "place: .long 0", Value::Distance, &[0x100], Limits::signed(32, 1)),
        RelocSample::new(
            "PLT32",
            ".byte 0xe8\nplace: .long 0",
            Value::Distance,
            &[0x100],
            Limits::signed(32, 1),
        )
        .call(),
        RelocSample::new(
            "PLT32",
            ".byte 0xe9\nplace: .long 0",
            Value::Distance,
            &[0x100],
            Limits::signed(32, 1),
        )
        .jump(),
        RelocSample::new(
            "GOTPCREL",
            ".byte 0x8b, 0x05\nplace: .long 0",
            Value::Distance,
            &[0x100],
            Limits::signed(32, 1),
        )
        .literal(),
        RelocSample::new(
            "GOTPCRELX",
            ".byte 0xff, 0x15\nplace: .long 0",
            Value::Distance,
            &[0x100],
            Limits::signed(32, 1),
        )
        .literal(),
        RelocSample::new(
            "REX_GOTPCRELX",
            ".byte 0x48, 0x8b, 0x05\nplace: .long 0",
            Value::Distance,
            &[0x100],
            Limits::signed(32, 1),
        )
        .literal(),
    ],
    markers: &[],
    got_entry: 24,
    got_distance: |_| 0x20_0000,
    // arch/x86/Makefile: of 6.1, of 6.12, and without -O2.
    module_flags: &[
        &[
            "-mcmodel=kernel",
            "-fno-PIE",
            "-mno-red-zone",
            "-mno-sse",
            "-mindirect-branch=thunk-extern",
            "-mfunction-return=thunk-extern",
            "-fno-jump-tables",
            "-pg",
            "-mfentry",
            "-mrecord-mcount",
            "-fcf-protection=none",
        ],
        &[
            "-mcmodel=kernel",
            "-fno-PIE",
            "-mno-red-zone",
            "-mno-sse",
            "-mindirect-branch=thunk-extern",
            "-mfunction-return=thunk-extern",
            "-fno-jump-tables",
            "-pg",
            "-mfentry",
            "-mrecord-mcount",
            "-fcf-protection=branch",
            "-fpatchable-function-entry=16,16",
        ],
        &["-mcmodel=kernel", "-fno-PIE", "-mno-red-zone", "-mno-sse", "-Os"],
    ],
    // Call padding of Debian 6.12, and room for slots.
    patchable: &[
        PatchableSample {
            options: &["-fpatchable-function-entry=16,16", "-falign-functions=16", "-fcf-protection=branch"],
            before: 16,
            after: 0,
            landing_pad: 4,
            in_section: true,
            one_nop: false,
            lack: Some(Lack::Entry { found: 0, needed: 5 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=5", "-fcf-protection=none"],
            before: 0,
            after: 5,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: Some(Lack::Before { found: 0, needed: 5 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=9,4", "-falign-functions=16", "-fcf-protection=branch"],
            before: 4,
            after: 5,
            landing_pad: 4,
            in_section: true,
            one_nop: false,
            lack: Some(Lack::Before { found: 4, needed: 5 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=21,16", "-falign-functions=16", "-fcf-protection=branch"],
            before: 16,
            after: 5,
            landing_pad: 4,
            in_section: true,
            one_nop: false,
            lack: None,
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=10,5", "-falign-functions=8", "-fcf-protection=none"],
            before: 5,
            after: 5,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: None,
        },
        // As kmod/patch.mk asks for 21,16.
        PatchableSample {
            options: &[
                "-pg",
                "-mfentry",
                "-mnop-mcount",
                "-fpatchable-function-entry=16,16",
                "-falign-functions=8",
                "-fcf-protection=branch",
                "-fno-pie",
            ],
            before: 16,
            after: 5,
            landing_pad: 4,
            in_section: true,
            one_nop: true,
            lack: None,
        },
    ],
    linker: &["--no-relax", "-z", "noexecstack"],
    stacks: stacks::STACKS,
    saved_return_addresses: &[],
    vectors: Some(&[]),
    // arch/x86/Makefile.
    no_fpu: &[
        "-mno-sse",
        "-mno-mmx",
        "-mno-sse2",
        "-mno-3dnow",
        "-mno-avx",
        "-mno-80387",
        "-mno-fp-ret-in-387",
    ],
};

const PT_REGS: RegsLayout =
    RegsLayout { size: 168, pc: 128, sp: 152, ra: RegsLayout::ABSENT, gprs: RegsLayout::ABSENT };

/// `nopl 0(%rax,%rax,1)`, a call or jump, or the breakpoint of a site that is being rewritten.
fn is_site(insn: &Insn) -> bool {
    let call = insn.len == 5 && matches!(insn.flow, Flow::Branch { .. });
    call || insn.len == 5 && insn.text.starts_with("nop") || insn.text == "int3"
}

fn slot_effect(machine: &mut Machine, insn: &Insn) -> Option<Next> {
    let (mnemonic, words) = insn.words();
    match (mnemonic, &words[..]) {
        ("endbr64", _) => {}
        ("mov", ["[rsp]", from]) => machine.store(machine.get("rsp"), machine.get(from)),
        ("mov", [register, from]) => {
            let word = match from.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(addr) => machine.load(number(addr)?)?,
                None => number(from)?,
            };
            machine.set(register, word);
        }
        ("jmp", [target]) => {
            let target = target.strip_prefix("qword ptr ").unwrap_or(target);
            let to = match target.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(addr) => machine.load(number(addr)?)?,
                None => number(target).unwrap_or_else(|| machine.get(target)),
            };
            return Some(Next::At(to));
        }
        // A retpoline: a call over the code that catches speculation, whose return address is then replaced.
        ("call", [target]) => {
            let (sp, behind) = (machine.get("rsp").wrapping_sub(8), machine.pc.wrapping_add(insn.len as u64));
            machine.set("rsp", sp);
            machine.store(sp, behind);
            return Some(Next::At(number(target)?));
        }
        ("ret", []) => {
            let sp = machine.get("rsp");
            machine.set("rsp", sp.wrapping_add(8));
            return Some(Next::At(machine.load(sp)?));
        }
        _ => return None,
    }
    Some(Next::Insn)
}
