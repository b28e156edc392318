// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H0: what the architecture states at all.
//!
//! A fact that is on its list of what is not stated fails, and says what is to be stated, where the answer is found, and what
//! depends on it. So does one that was struck from the list and is as the template had it, where that can be told.

use std::fs;
use std::path::Path;

use klp_core::Architecture;
use klp_core::branch::Reach;
use klp_core::stated::Fact;

use super::ensure;
use crate::guest;
use crate::host::oracle::{Oracle as _, Unstated};
use crate::host::{Case, Check, Description};

pub(super) fn cases<A: Architecture>() -> Vec<Case> {
    Fact::ALL.iter().map(|&fact| Case::stated(fact, is_stated::<A>)).collect()
}

fn is_stated<A: Architecture>(fact: Fact, d: &'static Description) -> Check {
    let said = fact.statement();
    ensure!(
        !fact.is_unstated::<A>(),
        "unstated: {}\n  state it   {}\n  look in    {}\n  needed by  {}: {}\n  stage      {}",
        said.what,
        said.place,
        said.source,
        said.cases.join(", "),
        said.needed_by,
        said.stage
    );
    let left = left::<A>(fact, d);
    ensure!(
        left.is_empty(),
        "struck from UNSTATED, and not stated ({}): {}\n  state it   {}\n  look in    {}",
        left.join("; "),
        said.what,
        said.place,
        said.source
    );
    Ok(())
}

/// What of a fact is as the template has it. Functions are not called: what they answer, other cases ask.
fn left<A: Architecture>(fact: Fact, d: &'static Description) -> Vec<&'static str> {
    let manuals = &d.manuals;
    let host = (d.host)();
    let found: &[(bool, &str)] = match fact {
        Fact::Names => &[
            (host.is_none(), "the host tools have no entry"),
            (
                host.is_some_and(|arch| {
                    let of_kernel = [arch.kernel_arch, arch.srcarch, arch.machine];
                    let of_others = [arch.debian, arch.flavour, arch.triple, arch.rust_target];
                    of_kernel.iter().chain(&of_others).any(|name| name.is_empty())
                }),
                "a name is empty",
            ),
            (host.is_some_and(|arch| arch.config.is_empty()), "config is empty"),
        ],
        Fact::ElfMachine => &[(A::ELF_MACHINE == 0, "ELF_MACHINE is 0")],
        Fact::InsnAlign => &[(A::INSN_ALIGN == 0, "INSN_ALIGN is 0"), (d.insn_align == 0, "insn_align is 0")],
        Fact::Qemu => &[(
            host.is_some_and(|arch| {
                let qemu = &arch.qemu;
                [qemu.binary, qemu.package, qemu.user, qemu.console].contains(&"") || qemu.machine.is_empty()
            }),
            "binary, package, user, console or machine is empty",
        )],
        Fact::Kernels => &[(host.is_some_and(|arch| arch.kernels.is_empty()), "kernels is empty")],
        Fact::Disassembler => &[((d.oracle)().name() == Unstated.name(), "oracle knows no instruction")],
        Fact::Text => &[(d.text.is_empty(), "text is empty")],
        Fact::SiteSamples => {
            &[(d.sites.is_empty(), "sites is empty"), (manuals.sites.is_empty(), "manuals.sites is empty")]
        }
        Fact::PatchSite => &[(A::ENTRY_LEN == 0, "ENTRY_LEN is 0")],
        Fact::RegisterBlock => &[
            (d.blocks.is_empty(), "blocks is empty"),
            (manuals.trampoline.is_empty(), "manuals.trampoline is empty"),
        ],
        Fact::Shim => &[(
            host.is_some_and(|arch| {
                let dir = arch.kmod_dir(&klp_host::arch::sdk().join("kmod"));
                ["shim.h", "build.mk"].iter().any(|name| is_blank(&dir.join(name), fact))
            }),
            "shim.h or build.mk is missing, or as the template has it",
        )],
        Fact::Guests => &[(
            host.is_some_and(|arch| {
                let dir = guest::arch_dir(arch);
                guest::ARCH_FILES.iter().any(|name| is_blank(&dir.join(name), fact))
            }),
            "a file is missing, or as the template has it",
        )],
        Fact::Reach => &[(is_nothing(A::REACH), "REACH is empty"), (is_nothing(d.reach), "reach is empty")],
        Fact::Branch => &[
            (A::BRANCH_LEN == 0, "BRANCH_LEN is 0"),
            (d.branches.is_empty(), "branches is empty"),
            (manuals.branches.is_empty(), "manuals.branches is empty"),
        ],
        Fact::Slot => &[(A::SLOT_LEN == 0, "SLOT_LEN is 0")],
        Fact::SlotRules => &[
            (d.slot.may_change.is_empty(), "slot.may_change is empty"),
            (d.slot.program.is_empty(), "slot.program is empty"),
            (manuals.slots.is_empty(), "manuals.slots is empty"),
        ],
        Fact::Relocations => &[(A::type_name(A::ABSOLUTE).is_none(), "ABSOLUTE is no type of reloc.rs")],
        Fact::RelocationSamples => &[
            (d.relocations.is_empty(), "relocations is empty"),
            (d.reloc_prefix.is_empty(), "reloc_prefix is empty"),
            (manuals.relocations.is_empty(), "manuals.relocations is empty"),
        ],
        Fact::ModuleFlags => &[(d.module_flags.is_empty(), "module_flags is empty")],
        Fact::FloatingPoint => &[(d.no_fpu.is_empty(), "no_fpu is empty")],
        Fact::FrameAlign => &[
            (A::FRAME_ALIGN == 0, "FRAME_ALIGN is 0"),
            (manuals.frames.is_empty(), "manuals.frames is empty"),
        ],
        Fact::Stacks => &[(d.stacks.kinds.is_empty(), "stacks.kinds is empty")],
        Fact::Room => &[
            (d.patchable.is_empty(), "patchable is empty"),
            (
                host.is_some_and(|arch| {
                    arch.room.as_ref().err() == klp_host::patchable::UNSTATED.err().as_ref()
                }),
                "room is not stated",
            ),
        ],
        Fact::ByteOrder
        | Fact::ProbeAddress
        | Fact::Registers
        | Fact::Redirect
        | Fact::ReturnStub
        | Fact::ProbeOrder
        | Fact::ReturnAddress
        | Fact::FollowsCall
        | Fact::SwitchedOut
        | Fact::Step
        | Fact::RecordedStacks
        | Fact::WayOut
        | Fact::Nop
        | Fact::Flip => &[],
    };
    found.iter().filter(|(is_left, _)| *is_left).map(|(_, what)| *what).collect()
}

/// Whether a file is not there, or still has the template's mark.
fn is_blank(file: &Path, fact: Fact) -> bool {
    fs::read_to_string(file).map_or(true, |text| text.contains(&format!("Fact::{fact:?}")))
}

fn is_nothing(reach: Reach) -> bool {
    reach.min == reach.max
}
