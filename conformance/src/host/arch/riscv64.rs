// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! riscv64, for the host suite.
//!
//! All of it is taken from manuals, compilers and real kernels, and none from the crate that it is compared with.

mod branches;
mod relocations;
mod sites;
mod stacks;

use klp_core::branch::Reach;
use klp_core::ftrace::RegsLayout;
use klp_core::patchable::Lack;
use klp_host::Arch;

use crate::host::description::{BlockSample, Description, Files, Manuals, PatchableSample, Slot};
use crate::host::evaluate::{Machine, Next, number};
use crate::host::oracle::{Insn, RiscV};

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "riscv64",
    host: || Arch::by_name("riscv64"),
    files: Files::HERE,
    oracle: || Box::new(RiscV::default()),
    manuals: Manuals {
        branches: "RISC-V Unprivileged ISA, \"Unconditional Jumps\" and \"Control Transfer Instructions\" of the \"C\" extension",
        slots: "RISC-V psABI, \"Program Linkage Table\" (t1, t3), \"Integer Register Convention\"",
        sites: "gcc -fpatchable-function-entry; arch/riscv/kernel/ftrace.c",
        trampoline: "arch/riscv/kernel/mcount-dyn.S, ftrace_caller",
        relocations: "RISC-V psABI, \"Relocations\"; arch/riscv/kernel/module.c",
        frames: "RISC-V psABI, \"Frame Pointer Convention\"; arch/riscv/kernel/entry.S, handle_exception",
    },
    // The kernel's, at halfwords too; and modules', which lie in the 2 GiB that end with the kernel.
    text: &[0xffff_ffff_8031_4606, 0xffff_ffff_80a7_434c, 0xffff_ffff_8000_2000, MODULE_TEXT],
    reach: Reach { min: -(1 << 20), max: (1 << 20) - 2, align: 2 },
    insn_align: 2,
    branches: branches::BRANCHES,
    slot: Slot {
        // What the psABI gives a linker's stub.
        may_change: &["t1", "t3"],
        landing_pads: &[],
        hold_target: &[],
        may_store: |_| false,
        calls_save: None,
        behind_call: ["", ""],
        between_objects: false,
        program: include_str!("../programs/slot_riscv64.S"),
        effect: slot_effect,
    },
    sites: sites::SITES,
    is_site,
    // offsetof in the headers of Debian's 6.12.107+deb13-riscv64.
    blocks: &[BlockSample {
        kernel: "debian-6.12",
        layout: RegsLayout { size: 104, pc: 0, sp: 16, ra: 8, gprs: RegsLayout::ABSENT },
    }],
    reloc_prefix: "R_RISCV_",
    relocations: relocations::RELOCATIONS,
    markers: &[],
    // Three doublewords of the dynamic linker's, of which there is none.
    got_entry: 24,
    got_distance: |_| 0x20_0000,
    // arch/riscv/Makefile and Makefile of 6.12, as Debian configures it; with RELOCATABLE; and what optimises otherwise.
    module_flags: &[
        &[
            "-fno-PIE",
            "-mabi=lp64",
            "-march=rv64imac_zicsr_zifencei",
            "-mno-save-restore",
            "-mcmodel=medany",
            "-mno-relax",
            "-fno-omit-frame-pointer",
            "-fno-optimize-sibling-calls",
            "-fpatchable-function-entry=4",
        ],
        &[
            "-fPIE",
            "-mabi=lp64",
            "-march=rv64imac_zicsr_zifencei",
            "-mno-save-restore",
            "-mcmodel=medany",
            "-mno-relax",
            "-fno-omit-frame-pointer",
            "-fno-optimize-sibling-calls",
            "-fpatchable-function-entry=4",
        ],
        &["-fno-PIE", "-mabi=lp64", "-march=rv64imac_zicsr_zifencei", "-mcmodel=medany", "-mno-relax", "-Os"],
        &["-fPIC", "-mabi=lp64", "-march=rv64ima_zicsr_zifencei", "-mcmodel=medany", "-mno-relax"],
    ],
    // The kernel's, in NOPs of two bytes; and without compressed instructions, room for slots.
    patchable: &[
        PatchableSample {
            options: &["-fpatchable-function-entry=4", "-falign-functions=8"],
            before: 0,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: Some(Lack::Before { found: 0, needed: 24 }),
        },
        PatchableSample {
            options: &[WITHOUT_COMPRESSED, "-fpatchable-function-entry=2", "-falign-functions=8"],
            before: 0,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Before { found: 0, needed: 24 }),
        },
        PatchableSample {
            options: &[WITHOUT_COMPRESSED, "-fpatchable-function-entry=6,6", "-falign-functions=8"],
            before: 24,
            after: 0,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Entry { found: 0, needed: 4 }),
        },
        PatchableSample {
            options: &[WITHOUT_COMPRESSED, "-fpatchable-function-entry=7,6", "-falign-functions=8"],
            before: 24,
            after: 4,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: None,
        },
        PatchableSample {
            options: &[WITHOUT_COMPRESSED, "-fpatchable-function-entry=9,7", "-falign-functions=16"],
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
    // Nothing signs them.
    saved_return_addresses: &[],
    // gcc 12 knows the "V" extension in -march, and makes no code with it.
    vectors: None,
    // arch/riscv/Makefile. Without the last, padding that aligns is the linker's to take away.
    no_fpu: &["-march=rv64imac_zicsr_zifencei", "-mabi=lp64", "-mno-relax"],
};

/// An option that makes all NOPs four bytes long, and aligned to that.
const WITHOUT_COMPRESSED: &str = "-march=rv64ima_zicsr_zifencei";

/// Where QEMU's kernel had one.
const MODULE_TEXT: klp_core::Addr = 0xffff_ffff_0200_2340;

/// NOPs, and the first half of the call.
fn is_site(insn: &Insn) -> bool {
    let (mnemonic, words) = insn.words();
    matches!((mnemonic, words.first()), ("nop" | "c.nop", None) | ("auipc", Some(&"t0")))
}

/// What the calls of two instructions do, too.
fn slot_effect(machine: &mut Machine, insn: &Insn) -> Option<Next> {
    let (mnemonic, words) = insn.words();
    match (mnemonic, &words[..]) {
        ("auipc", [to, pages]) => {
            let pages = number(pages)? << 44;
            machine.set(to, machine.pc.wrapping_add_signed(pages.cast_signed() >> 32));
        }
        ("ld", [to, memory]) => {
            let word = machine.load(indexed(machine, memory)?)?;
            machine.set(to, word);
        }
        ("jr" | "c.jr", [target]) => return Some(Next::At(machine.get(target) & !1)),
        ("jalr", [link, base, displacement]) if number(displacement).is_some() => {
            let target = machine.get(base).wrapping_add(number(displacement)?);
            return Some(jump_and_link(machine, insn, link, target));
        }
        ("jalr", [link, target]) => {
            let target = indexed(machine, target)?;
            return Some(jump_and_link(machine, insn, link, target));
        }
        ("jalr" | "c.jalr", [target]) => {
            let target = indexed(machine, target)?;
            return Some(jump_and_link(machine, insn, "ra", target));
        }
        _ => return None,
    }
    Some(Next::Insn)
}

/// JALR: links in any register but zero, and sets the target's lowest bit to zero.
fn jump_and_link(machine: &mut Machine, insn: &Insn, link: &str, target: u64) -> Next {
    if link != "zero" {
        machine.set(link, machine.pc.wrapping_add(insn.len as u64));
    }
    Next::At(target & !1)
}

/// What `DISPLACEMENT(BASE)` or `BASE` is.
fn indexed(machine: &Machine, text: &str) -> Option<u64> {
    let Some((displacement, base)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
        return Some(machine.get(text));
    };
    Some(machine.get(base).wrapping_add(number(displacement)?))
}
