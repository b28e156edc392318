// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ppc64, for the host suite.

mod branches;
mod relocations;
mod sites;
mod stacks;

use klp_core::branch::{BranchKind, BranchTarget, Reach};
use klp_core::ftrace::RegsLayout;
use klp_core::patchable::Lack;
use klp_host::Arch;

use super::super::description::{BlockSample, Description, Files, Manuals, PatchableSample, Slot};
use super::super::evaluate::{Machine, Next, number};
use super::super::oracle::{Flow, Insn, PowerPc};

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "ppc64",
    host: || Arch::by_name("ppc64"),
    files: Files::HERE,
    oracle: || Box::new(PowerPc::default()),
    manuals: Manuals {
        branches: "Power ISA 3.0 B Book I, 2.4, Branch Instructions",
        slots: "ELFv2 §2.2.1 (r0, r11, r12 and CTR between caller and callee), §2.3.2.1 (r12 at the global entry)",
        sites: "gcc -mprofile-kernel; arch/powerpc/kernel/trace/ftrace.c",
        trampoline: "arch/powerpc/kernel/trace/ftrace_mprofile.S, later ftrace_entry.S",
        relocations: "ELFv2, \"Relocation Types\"",
        frames: "ELFv2 §2.2.2, The Stack Frame; arch/powerpc/include/asm/ptrace.h",
    },
    text: &[0xc000_0000_0061_54c0, 0xc000_0000_00dc_9200, 0xc008_0000_0100_2340],
    reach: Reach { min: -(1 << 25), max: (1 << 25) - 4, align: 4 },
    insn_align: 4,
    branches: branches::BRANCHES,
    slot: Slot {
        may_change: &["r0", "r11", "r12", "ctr"],
        landing_pads: &[],
        hold_target: &["r12"],
        may_store: |_| false,
        // The TOC save doubleword of the caller's frame (ELFv2 §2.2.2).
        calls_save: Some(("r2", "r1", 24)),
        behind_call: ["00000060", "180041e8"],
        between_objects: true,
        program: include_str!("../programs/slot_ppc64.S"),
        effect: slot_effect,
    },
    sites: sites::SITES,
    is_site,
    // offsetof in the headers of Debian's 6.1.0-50-powerpc64le and 6.12.95+deb12-powerpc64le.
    blocks: &[
        BlockSample { kernel: "debian-6.1", layout: PT_REGS },
        BlockSample { kernel: "debian-6.12", layout: PT_REGS },
    ],
    reloc_prefix: "R_PPC64_",
    relocations: relocations::RELOCATIONS,
    markers: &["ENTRY"],
    got_entry: 0,
    // With the large code model so far away that the linker leaves the sequence at functions' entries as it is.
    got_distance: |options| if options.contains(&"-mcmodel=large") { 1 << 32 } else { 0x20_0000 },
    // arch/powerpc/Makefile, for modules, and the code model of vmlinux.
    module_flags: &[
        &[
            "-msoft-float",
            "-mno-altivec",
            "-mno-vsx",
            "-mcpu=power8",
            "-mtune=power10",
            "-mno-prefixed",
            "-mno-pcrel",
            "-mabi=elfv2",
            "-mtraceback=no",
            "-fno-PIE",
            "-mcmodel=large",
            "-mno-save-toc-indirect",
        ],
        &[
            "-msoft-float",
            "-mno-altivec",
            "-mno-vsx",
            "-mcpu=power8",
            "-mno-prefixed",
            "-mno-pcrel",
            "-mabi=elfv2",
            "-mtraceback=no",
            "-fno-PIE",
            "-mcmodel=medium",
            "-pg",
            "-mprofile-kernel",
        ],
        &[
            "-msoft-float",
            "-mno-altivec",
            "-mno-vsx",
            "-mcpu=power8",
            "-mno-prefixed",
            "-mno-pcrel",
            "-mabi=elfv2",
            "-mtraceback=no",
            "-fno-PIE",
            "-mcmodel=large",
            "-Os",
            "-pg",
            "-mprofile-kernel",
        ],
    ],
    // gcc 12 makes room for a slot, and none for the branch to it that leaves the function intact.
    patchable: &[
        PatchableSample {
            options: &["-fpatchable-function-entry=2,2"],
            before: 8,
            after: 0,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Before { found: 8, needed: 40 }),
        },
        PatchableSample {
            options: &["-fpatchable-function-entry=12,12", "-falign-functions=16"],
            before: 48,
            after: 0,
            landing_pad: 0,
            in_section: true,
            one_nop: true,
            lack: Some(Lack::Entry { found: 0, needed: 4 }),
        },
    ],
    linker: &["--no-toc-optimize", "--no-tls-optimize", "--no-opd-optimize", "-z", "noexecstack"],
    stacks: stacks::STACKS,
    saved_return_addresses: &[],
    vectors: Some(&[]),
    // arch/powerpc/Makefile.
    no_fpu: &["-msoft-float", "-mno-altivec", "-mno-vsx", "-mcpu=power8", "-mtraceback=no"],
};

const PT_REGS: RegsLayout = RegsLayout { size: 384, pc: 256, sp: 8, ra: 288, gprs: 0 };

fn is_site(insn: &Insn) -> bool {
    let call = matches!(insn.flow, Flow::Branch { kind: BranchKind::Call, target: BranchTarget::Direct(_) });
    insn.text == "nop" || call && insn.text.starts_with("bl ")
}

fn slot_effect(machine: &mut Machine, insn: &Insn) -> Option<Next> {
    let (mnemonic, words) = insn.words();
    match (mnemonic, &words[..]) {
        ("lis", [to, value]) => {
            let value = sign_extend(number(value)?) << 16;
            machine.set(to, value);
        }
        ("li", [to, value]) => machine.set(to, sign_extend(number(value)?)),
        ("addis", [to, from, value]) => {
            machine.set(to, machine.get(from).wrapping_add(sign_extend(number(value)?) << 16));
        }
        ("addi", [to, from, value]) => {
            machine.set(to, machine.get(from).wrapping_add(sign_extend(number(value)?)));
        }
        ("ori", [to, from, value]) => machine.set(to, machine.get(from) | number(value)?),
        ("oris", [to, from, value]) => machine.set(to, machine.get(from) | number(value)? << 16),
        ("sldi", [to, from, value]) => machine.set(to, machine.get(from) << number(value)?),
        ("mr", [to, from]) => machine.set(to, machine.get(from)),
        ("ld", [to, memory]) => {
            let (displacement, base) = memory.strip_suffix(')')?.split_once('(')?;
            let addr = machine.get(base).wrapping_add(sign_extend(number(displacement)?));
            let word = machine.load(addr)?;
            machine.set(to, word);
        }
        ("mtctr", [from]) => machine.set("ctr", machine.get(from)),
        ("std", [from, memory]) => {
            let (displacement, base) = memory.strip_suffix(')')?.split_once('(')?;
            let addr = machine.get(base).wrapping_add(sign_extend(number(displacement)?));
            machine.store(addr, machine.get(from));
        }
        ("nop", []) => {}
        // CTR 0:61 || 0b00 (Power ISA Book I, "Branch Instructions").
        ("bctr", []) => return Some(Next::At(machine.get("ctr") & !3)),
        ("b", [target]) => return Some(Next::At(number(target)?)),
        _ => return None,
    }
    Some(Next::Insn)
}

/// The value of a 16-bit signed immediate, however the disassembler wrote it.
fn sign_extend(value: u64) -> u64 {
    i64::from((value & 0xffff) as u16 as i16).cast_unsigned()
}
