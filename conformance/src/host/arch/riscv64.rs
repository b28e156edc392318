// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! riscv64, for the host suite.

mod branches;
mod relocations;
mod sites;
mod stacks;

use klp_core::branch::Reach;
use klp_core::ftrace::RegsLayout;
use klp_core::patchable::Lack;
use klp_host::Arch;

use super::super::description::{BlockSample, Description, Files, Manuals, PatchableSample, Slot};
use super::super::evaluate::{Machine, Next, number};
use super::super::oracle::{Insn, RiscV};

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "riscv64",
    host: || Arch::by_name("riscv64"),
    files: Files::HERE,
    oracle: || Box::new(RiscV::default()),
    manuals: Manuals {
        branches: "Unprivileged ISA, \"Unconditional Jumps\"; C extension, \"Control Transfer Instructions\"",
        slots: "psABI, \"Program Linkage Table\" (t1, t3)",
        sites: "gcc -fpatchable-function-entry; arch/riscv/kernel/ftrace.c",
        trampoline: "arch/riscv/kernel/mcount-dyn.S, ftrace_caller",
        relocations: "psABI, \"Relocations\"; arch/riscv/kernel/module.c",
        frames: "psABI, \"Frame Pointer Convention\"; arch/riscv/kernel/entry.S, handle_exception",
    },
    text: &[0xffff_ffff_8031_4606, 0xffff_ffff_80a7_662c, 0xffff_ffff_01a0_2340],
    reach: Reach { min: -(1 << 20), max: (1 << 20) - 2, align: 2 },
    insn_align: 2,
    branches: branches::BRANCHES,
    slot: Slot {
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
    // offsetof in the headers of Debian's 6.12.107+deb13-riscv64 (struct __arch_ftrace_regs).
    blocks: &[BlockSample {
        kernel: "debian-6.12",
        layout: RegsLayout { size: 104, pc: 0, sp: 16, ra: 8, gprs: RegsLayout::ABSENT },
    }],
    reloc_prefix: "R_RISCV_",
    relocations: relocations::RELOCATIONS,
    markers: &[],
    got_entry: 24,
    got_distance: |_| 0x20_0000,
    // arch/riscv/Makefile, for modules, and what optimises otherwise.
    module_flags: &[
        &[
            "-fno-PIE",
            "-mabi=lp64",
            "-march=rv64imac_zicsr_zifencei",
            "-mno-save-restore",
            "-mcmodel=medany",
            "-mstrict-align",
            "-mno-relax",
            "-fno-omit-frame-pointer",
            "-fno-optimize-sibling-calls",
            "-fpatchable-function-entry=4",
        ],
        &["-fno-PIE", "-mabi=lp64", "-march=rv64imac", "-mcmodel=medany", "-mno-relax"],
        &["-fno-PIE", "-mabi=lp64", "-march=rv64ima", "-mcmodel=medany", "-mno-relax", "-Os"],
    ],
    // Debian's kernel; the same without compressed instructions; and room for slots, where NOPs of 2 bytes are at the entry.
    patchable: &[
        PatchableSample {
            options: &["-fpatchable-function-entry=4", "-falign-functions=8", "-mno-relax"],
            before: 0,
            after: 8,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: Some(Lack::Before { found: 0, needed: 24 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=12,12", "-falign-functions=8", "-mno-relax"],
            before: 24,
            after: 0,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: Some(Lack::Entry { found: 0, needed: 4 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=14,12", "-falign-functions=8", "-mno-relax"],
            before: 24,
            after: 4,
            landing_pad: 0,
            in_section: true,
            one_nop: false,
            lack: None,
        },
    ],
    linker: &["--no-relax", "-z", "noexecstack"],
    stacks: stacks::STACKS,
    saved_return_addresses: &[],
    vectors: None,
    // arch/riscv/Makefile.
    no_fpu: &["-march=rv64imac", "-mabi=lp64"],
};

/// The first of the two instructions: `nop`, as compiled or as ftrace writes it, or `auipc t0`.
fn is_site(insn: &Insn) -> bool {
    let (mnemonic, words) = insn.words();
    matches!(mnemonic, "nop" | "c.nop") || (mnemonic, words.first()) == ("auipc", Some(&"t0"))
}

fn slot_effect(machine: &mut Machine, insn: &Insn) -> Option<Next> {
    let (mnemonic, words) = insn.words();
    let behind = machine.pc.wrapping_add(insn.len as u64);
    match (mnemonic, &words[..]) {
        ("auipc", [to, value]) => {
            let high = sign_extend(number(value)? << 12, 32);
            machine.set(to, machine.pc.wrapping_add(high));
        }
        ("addi", [to, from, value]) => machine.set(to, machine.get(from).wrapping_add(number(value)?)),
        ("ld", [to, memory]) => {
            let word = machine.load(address(machine, memory)?)?;
            machine.set(to, word);
        }
        ("jr", [memory]) => return Some(Next::At(jump_target(address(machine, memory)?))),
        ("jalr", [memory]) => {
            let target = jump_target(address(machine, memory)?);
            machine.set("ra", behind);
            return Some(Next::At(target));
        }
        ("jalr", [link, base, displacement]) => {
            let target = jump_target(machine.get(base).wrapping_add(number(displacement)?));
            if *link != "zero" {
                machine.set(link, behind);
            }
            return Some(Next::At(target));
        }
        _ => return None,
    }
    Some(Next::Insn)
}

/// Where a jump through a register goes: the lowest bit is set to zero (Unprivileged ISA, "Unconditional Jumps").
const fn jump_target(addr: u64) -> u64 {
    addr & !1
}

/// The address that `8(t1)`, or `t1` alone, stands for.
fn address(machine: &Machine, memory: &str) -> Option<u64> {
    let Some((displacement, base)) = memory.strip_suffix(')').and_then(|text| text.split_once('(')) else {
        return Some(machine.get(memory));
    };
    Some(machine.get(base).wrapping_add(number(displacement)?))
}

/// A value of `bits` bits with a sign.
const fn sign_extend(value: u64, bits: u32) -> u64 {
    let unused = 64 - bits;
    (value << unused).cast_signed().wrapping_shr(unused).cast_unsigned()
}
