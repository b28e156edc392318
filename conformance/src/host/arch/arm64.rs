// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! arm64, for the host suite.

mod branches;
mod relocations;
mod sites;
mod stacks;

use klp_core::branch::{BranchKind, Reach};
use klp_core::ftrace::RegsLayout;
use klp_core::patchable::Lack;
use klp_host::Arch;

use super::super::description::{BlockSample, Description, Files, Manuals, PatchableSample, Slot};
use super::super::evaluate::{Machine, Next, number};
use super::super::oracle::{Flow, Insn, Yaxpeax};

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "arm64",
    host: || Arch::by_name("arm64"),
    files: Files::HERE,
    oracle: || Box::new(Yaxpeax),
    manuals: Manuals {
        branches: "Arm ARM C6.2, \"B\", \"BL\", \"BR\", \"BLR\"",
        slots: "AAPCS64 §6.1.1 (x16, x17: IP0, IP1), \"Use of IP0 and IP1 by the linker\"",
        sites: "gcc -fpatchable-function-entry; arch/arm64/kernel/ftrace.c",
        trampoline: "arch/arm64/kernel/entry-ftrace.S, ftrace_caller",
        relocations: "AAELF64, \"Relocation\"",
        frames: "AAPCS64 §6.4.6, The Frame Pointer; arch/arm64/kernel/entry.S, kernel_entry",
    },
    text: &[0xffff_8000_0801_0000, 0xffff_d095_c6ba_b520, 0xffff_8000_0100_2340],
    reach: Reach { min: -(1 << 27), max: (1 << 27) - 4, align: 4 },
    insn_align: 4,
    branches: branches::BRANCHES,
    slot: Slot {
        may_change: &["x16", "x17"],
        // `bti c` and `bti jc`.
        landing_pads: &["hint #0x22", "hint #0x26", "bti c", "bti jc"],
        hold_target: &[],
        may_store: |_| false,
        calls_save: None,
        behind_call: ["", ""],
        between_objects: false,
        program: include_str!("../programs/slot_arm64.S"),
        effect: slot_effect,
    },
    sites: sites::SITES,
    is_site,
    // offsetof in the headers of Debian's 6.1.0-56-arm64 (struct pt_regs) and 6.12.117+deb12-arm64.
    blocks: &[
        BlockSample {
            kernel: "debian-6.1",
            layout: RegsLayout { size: 336, pc: 256, sp: 248, ra: 240, gprs: 0 },
        },
        BlockSample {
            kernel: "debian-6.12",
            layout: RegsLayout { size: 112, pc: 104, sp: 96, ra: 88, gprs: RegsLayout::ABSENT },
        },
    ],
    reloc_prefix: "R_AARCH64_",
    relocations: relocations::RELOCATIONS,
    markers: &[],
    got_entry: 32,
    got_distance: |_| 0x20_0000,
    // arch/arm64/Makefile: of 6.1, of 6.12, and what optimises otherwise.
    module_flags: &[
        &[
            "-fno-PIE",
            "-mgeneral-regs-only",
            "-mbranch-protection=pac-ret+leaf",
            "-fno-optimize-sibling-calls",
            "-fpatchable-function-entry=2",
        ],
        &[
            "-fno-PIE",
            "-mgeneral-regs-only",
            "-mbranch-protection=pac-ret",
            "-fno-optimize-sibling-calls",
            "-fpatchable-function-entry=4,2",
        ],
        &["-fno-PIE", "-mgeneral-regs-only", "-mbranch-protection=bti+pac-ret"],
        &["-fno-PIE", "-mgeneral-regs-only", "-Os"],
        &["-fno-PIE", "-mgeneral-regs-only", "-mcmodel=large"],
    ],
    // Debian 6.1; Debian 6.12, where 8 bytes before the function hold a pointer to ftrace's ops; and room for slots.
    patchable: &[
        PatchableSample {
            options: &["-fpatchable-function-entry=2", "-falign-functions=8"],
            before: 0,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Before { found: 0, needed: 24 }),
        },
        PatchableSample {
            options: &[
                "-fpatchable-function-entry=4,2",
                "-falign-functions=8",
                "-mbranch-protection=pac-ret",
            ],
            before: 8,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Before { found: 8, needed: 24 }),
        },
        PatchableSample {
            options: &[
                "-fpatchable-function-entry=4,2",
                "-falign-functions=8",
                "-mbranch-protection=bti+pac-ret",
            ],
            before: 8,
            after: 8,
            landing_pad: 4,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Before { found: 8, needed: 24 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=2", "-falign-functions=8", "-mbranch-protection=bti"],
            before: 0,
            after: 8,
            landing_pad: 4,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Before { found: 0, needed: 24 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=6,6", "-falign-functions=8"],
            before: 24,
            after: 0,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Entry { found: 0, needed: 4 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=7,6", "-falign-functions=8"],
            before: 24,
            after: 4,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: None,
        },
        PatchableSample {
            options: &[
                "-fpatchable-function-entry=8,6",
                "-falign-functions=8",
                "-mbranch-protection=bti+pac-ret",
            ],
            before: 24,
            after: 8,
            landing_pad: 4,
            in_section: true,
            one_nop: true,
            lack: None,
        },
        PatchableSample {
            options: &[
                "-fpatchable-function-entry=9,7",
                "-falign-functions=16",
                "-mbranch-protection=pac-ret",
            ],
            before: 28,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: None,
        },
    ],
    linker: &["--no-relax", "-z", "noexecstack"],
    stacks: stacks::STACKS,
    // Signed with a 48-bit address space: the signature is in bits 48 to 54 and 56 to 63.
    saved_return_addresses: &[
        (0xffff_8000_0801_2340, 0xffff_8000_0801_2340),
        (0x32e5_8000_0801_2344, 0xffff_8000_0801_2344),
        (0x80ff_d095_c6ba_b528, 0xffff_d095_c6ba_b528),
        (0xff80_8000_0100_2340, 0xffff_8000_0100_2340),
    ],
    vectors: Some(&[]),
    // arch/arm64/Makefile.
    no_fpu: &["-mgeneral-regs-only"],
};

fn is_site(insn: &Insn) -> bool {
    insn.text == "nop"
        || matches!(insn.flow, Flow::Branch { kind: BranchKind::Call, target } if target != klp_core::branch::BranchTarget::Indirect)
}

fn slot_effect(machine: &mut Machine, insn: &Insn) -> Option<Next> {
    let (mnemonic, words) = insn.words();
    match (mnemonic, &words[..]) {
        ("bti", _) | ("hint", ["#0x22" | "#0x26"]) => {}
        ("adrp", [to, distance]) => {
            machine.set(to, (machine.pc & !0xfff).wrapping_add(number(distance)?));
        }
        ("adr", [to, distance]) => machine.set(to, machine.pc.wrapping_add(number(distance)?)),
        ("add", [to, from, value]) => machine.set(to, machine.get(from).wrapping_add(number(value)?)),
        ("ldr", [to, distance]) => {
            let word = machine.load(machine.pc.wrapping_add(number(distance)?))?;
            machine.set(to, word);
        }
        ("br", [target]) => return Some(Next::At(machine.get(target))),
        ("b", [distance]) => return Some(Next::At(machine.pc.wrapping_add(number(distance)?))),
        _ => return None,
    }
    Some(Next::Insn)
}
