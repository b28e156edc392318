// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! __name__, for the host suite.
//!
//! All of it is taken from manuals, compilers and real kernels, and none from the crate that it is compared with.

__uses__

/// What the suite is told.
pub static DESCRIPTION: Description = Description {
    name: "__name__",
    host: || __host__,
    files: __files__,
    // Fact::Disassembler
    oracle: || Box::new(Unstated),
    manuals: Manuals {
        // Fact::Branch
        branches: "",
        // Fact::SlotRules
        slots: "",
        // Fact::SiteSamples
        sites: "",
        // Fact::RegisterBlock
        trampoline: "",
        // Fact::RelocationSamples
        relocations: "",
        // Fact::FrameAlign
        frames: "",
    },
    // Fact::Text
    text: &[],
    // Fact::Reach
    reach: Reach { min: 0, max: 0, align: 1 },
    // Fact::InsnAlign
    insn_align: 0,
    // Fact::Branch
    branches: &[],
    // Fact::SlotRules
    slot: Slot {
        may_change: &[],
        landing_pads: &[],
        hold_target: &[],
        may_store: |_| false,
        calls_save: None,
        behind_call: ["", ""],
        between_objects: false,
        program: "",
        effect: |_, _| None,
    },
    // Fact::SiteSamples
    sites: &[],
    is_site: |_| false,
    // Fact::RegisterBlock
    blocks: &[],
    // Fact::RelocationSamples
    reloc_prefix: "",
    relocations: &[],
    markers: &[],
    got_entry: 0,
    got_distance: |_| 0,
    // Fact::ModuleFlags
    module_flags: &[],
    // Fact::Room
    patchable: &[],
    // Fact::RelocationSamples
    linker: &[],
    // Fact::Stacks
    stacks: Stacks {
        kinds: &[],
        reasons: &[],
        return_address: 0,
        is_caller: |_, _, _| false,
        is_last: |_, _| false,
    },
    // Fact::ReturnAddress
    saved_return_addresses: &[],
    // Fact::FloatingPoint
    vectors: Some(&[]),
    no_fpu: &[],
};
