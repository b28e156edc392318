// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an architecture has to state, and in which order a port states it (`docs/src/porting.md`).
//!
//! A new architecture starts with nothing stated: [`Architecture::UNSTATED`] lists every [`Fact`]. Whoever states one strikes it
//! from that list. What is on the list is a failure of the conformance group H0, and what depends on it is skipped.

use crate::Architecture;

/// One stage of a port. Each ends with conformance cases that pass, and none needs a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Its names are known, a stock kernel of it boots in QEMU, and a module loads there.
    Recognise,
    /// Calls of a function go to its replacement, by way of ftrace.
    Redirect,
    /// Branches, slots and relocations: a patch calls what its own module does not have.
    Branches,
    /// Stacks are walked reliably.
    Unwinding,
    /// Tasks are switched one by one; all consistency models work.
    Transitions,
    /// Functions are entered through patch sites of their own, where compilers leave room for those.
    PatchSites,
}

impl Stage {
    /// All stages, in the order in which a port goes through them.
    pub const ALL: [Stage; 6] = [
        Stage::Recognise,
        Stage::Redirect,
        Stage::Branches,
        Stage::Unwinding,
        Stage::Transitions,
        Stage::PatchSites,
    ];

    /// The name that `--stage` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Recognise => "recognise",
            Stage::Redirect => "redirect",
            Stage::Branches => "branches",
            Stage::Unwinding => "unwinding",
            Stage::Transitions => "transitions",
            Stage::PatchSites => "patch-sites",
        }
    }

    /// The stage of this name.
    pub fn by_name(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// The stage that comes next.
    pub fn next(self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|&stage| stage > self)
    }
}

impl core::fmt::Display for Stage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// What is said of a fact, to whoever has to state it.
#[derive(Debug)]
pub struct Statement {
    /// The fact.
    pub fact: Fact,
    /// The number of the conformance case that fails while it is not stated.
    pub id: &'static str,
    /// That case's name.
    pub case: &'static str,
    /// Its name in one word.
    pub name: &'static str,
    /// When a port gets to it.
    pub stage: Stage,
    /// What is to be stated.
    pub what: &'static str,
    /// Where it is stated. "Description" is what the host suite is told.
    pub place: &'static str,
    /// Where the answer is found: manuals, and files of the kernel, of the architecture that is stated.
    pub source: &'static str,
    /// What depends on it.
    pub needed_by: &'static str,
    /// Conformance cases, and groups of them, that cannot pass without it.
    pub cases: &'static [&'static str],
}

/// Declares [`Fact`] and what is said of each.
macro_rules! facts {
    ($($stage:ident { $($fact:ident $number:literal $name:literal {
        what: $what:literal,
        place: $place:literal,
        source: $source:literal,
        needed_by: $needed_by:literal,
        cases: $cases:expr,
    })+ })+) => {
        /// One thing that an architecture states about itself, in its crate or in an entry of a table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fact {
            $($(#[doc = $what] $fact,)+)+
        }

        impl Fact {
            /// All facts, in the order in which a port states them.
            pub const ALL: &'static [Fact] = &[$($(Fact::$fact,)+)+];

            /// What is said of it.
            pub const fn statement(self) -> &'static Statement {
                match self {
                    $($(Fact::$fact => &Statement {
                        fact: Fact::$fact,
                        id: concat!("H0.", $number),
                        case: concat!("stated.", $name),
                        name: $name,
                        stage: Stage::$stage,
                        what: $what,
                        place: $place,
                        source: $source,
                        needed_by: $needed_by,
                        cases: $cases,
                    },)+)+
                }
            }
        }
    };
}

facts! {
    Recognise {
        Names 1 "names" {
            what: "The names it goes by: the kernel's, Debian's, the GNU toolchain's, rustc's, `uname -m`'s.",
            place: "klp_host::Arch, its entry",
            source: "the kernel's Makefile (SRCARCH, UTS_MACHINE) and arch/SRCARCH/Makefile; dpkg-architecture -L; \
                     rustc --print target-list; apt-cache search gcc-.*-linux-gnu",
            needed_by: "headers, compilers and packages are found by them",
            cases: &["H1.1", "H1.2", "H3.8", "H3.9", "H7", "H9", "H10", "G0"],
        }
        ElfMachine 2 "elf_machine" {
            what: "The ELF machine (e_machine) of its modules.",
            place: "the crate's lib.rs, ELF_MACHINE",
            source: "the ABI's ELF supplement, \"ELF Header\"; include/uapi/linux/elf-em.h",
            needed_by: "host tools know by it whose module a file is",
            cases: &["H1.1", "H1.2", "H9", "G9.16"],
        }
        ByteOrder 3 "byte_order" {
            what: "The byte order of its data.",
            place: "the crate's lib.rs, ENDIAN",
            source: "the ABI's ELF supplement, \"ELF Header\" (EI_DATA); CONFIG_CPU_BIG_ENDIAN of the stock kernel",
            needed_by: "slots' literals, relocations and memory dumps are read and written in it",
            cases: &["H1.1", "H1.2", "H3", "H7", "H8"],
        }
        InsnAlign 4 "insn_align" {
            what: "What every instruction's address is a multiple of, compressed instructions included.",
            place: "the crate's lib.rs, INSN_ALIGN; description, insn_align",
            source: "the instruction set's manual, \"Instruction Formats\"",
            needed_by: "addresses that are no instruction's are refused",
            cases: &["H1.3", "H2", "H3.4", "H4.4"],
        }
        Qemu 5 "qemu" {
            what: "The machine that QEMU runs its stock kernel on: CPU, console, a second terminal, the image that boots.",
            place: "klp_host::Arch, its entry, qemu",
            source: "qemu-system-* -machine help; the stock kernel's .config (console and serial drivers that are built in)",
            needed_by: "every guest, and host cases that execute code",
            cases: &["H3.8", "H3.9", "H10.6", "G0"],
        }
        Kernels 6 "kernels" {
            what: "A stock kernel that can be fetched: the Debian suite that has its image and headers.",
            place: "klp_host::Arch, its entry, kernels; host/src/kernel/debian.rs has those of others",
            source: "apt-cache policy of linux-image and linux-headers for the architecture; CONFIG_DYNAMIC_FTRACE, CONFIG_KALLSYMS \
                     and CONFIG_MODULES in its .config",
            needed_by: "every guest",
            cases: &["G0"],
        }
    }
    Redirect {
        Disassembler 7 "disassembler" {
            what: "A disassembler that knows nothing of this SDK, as the oracle that encodings are compared with.",
            place: "description, oracle",
            source: "what capstone, iced-x86 and yaxpeax support; conformance/src/host/oracle",
            needed_by: "every case that asks what an instruction is",
            cases: &["H1.3", "H2", "H3", "H4", "H7.7", "H7.8", "H9", "H10"],
        }
        Text 8 "text" {
            what: "Addresses of kernel text and of module text.",
            place: "description, text",
            source: "/proc/kallsyms and /proc/modules in a guest; arch/SRCARCH/include/asm/pgtable.h (MODULES_VADDR)",
            needed_by: "cases that need places for branches, slots and return addresses",
            cases: &["H1.4", "H2", "H3", "H7"],
        }
        SiteSamples 9 "site_samples" {
            what: "First bytes of functions of two real kernels, not traced and traced, and what ftrace puts at a site.",
            place: "description, sites, is_site and manuals.sites",
            source: "/proc/kcore in a guest, before and after `echo function >current_tracer`; available_filter_functions for those \
                     that can be traced; arch/SRCARCH/Makefile (CC_FLAGS_FTRACE) for the compiler's form",
            needed_by: "the patch site is checked against them",
            cases: &["H1.3", "H4"],
        }
        PatchSite 10 "patch_site" {
            what: "Where a function's patch site is, each form it has, and where execution resumes behind it.",
            place: "the crate's ftrace.rs, MAX_SITE_OFFSET, ENTRY_LEN, patch_site",
            source: "arch/SRCARCH/kernel/ftrace.c (ftrace_make_nop, ftrace_make_call, ftrace_call_adjust); gcc's manual on the option in \
                     CC_FLAGS_FTRACE",
            needed_by: "a function whose site is not understood is not patched",
            cases: &["H1.3", "H4", "G1"],
        }
        ProbeAddress 11 "probe_address" {
            what: "Which function it is, if a kprobe placed by its name was put at an address.",
            place: "the crate's ftrace.rs, function_of_probe; the default says: the very address",
            source: "arch_adjust_kprobe_addr and kprobe_lookup_name in arch/SRCARCH/kernel/kprobes.c",
            needed_by: "klp.ko finds kallsyms_lookup_name by a kprobe, and the rest by that",
            cases: &["H4.8", "G1"],
        }
        RegisterBlock 12 "register_block" {
            what: "The block of registers that ftrace hands to callbacks, of each kernel.",
            place: "description, blocks and manuals.trampoline",
            source: "struct ftrace_regs in arch/SRCARCH/include/asm/ftrace.h, struct pt_regs in asm/ptrace.h; offsetof, compiled with the \
                     kernel's headers",
            needed_by: "redirects are tried on such blocks",
            cases: &["H5"],
        }
        Registers 13 "registers" {
            what: "Whether arguments, stack pointer and resume address are enough for a redirect, or all registers are needed.",
            place: "the crate's ftrace.rs, REGS",
            source: "ftrace_caller and ftrace_regs_caller in arch/SRCARCH/kernel (mcount*.S, entry-ftrace.S, ftrace_*.S): what each saves \
                     and restores; HAVE_DYNAMIC_FTRACE_WITH_ARGS in arch/SRCARCH/Kconfig",
            needed_by: "every patched call saves that many registers",
            cases: &["H5", "G6"],
        }
        Redirect 14 "redirect" {
            what: "What is written into the block so that the trampoline enters another function.",
            place: "the crate's ftrace.rs, redirect; resume_address and call_site, whose defaults say: the block's pc, and ftrace's ip",
            source: "the end of ftrace_caller: which word it branches to; ftrace_regs_set_instruction_pointer in asm/ftrace.h; the ABI, \
                     \"Function Calling Sequence\", for what a function expects in registers when it is entered",
            needed_by: "this is what a patch does",
            cases: &["H5", "G1", "G6"],
        }
        ReturnStub 15 "return_stub" {
            what: "Whether a caller relies on more than the callee-saved registers when a call returns, as on the TOC pointer.",
            place: "the crate's ftrace.rs, RETURN_STUB; return_frame if there is such a register",
            source: "the ABI, \"Function Calling Sequence\": calls within an object that save less than those to another",
            needed_by: "without the stub the caller would go on with the replacement's register",
            cases: &["H5", "H6", "G7"],
        }
        ProbeOrder 16 "probe_order" {
            what: "Whether the kernel's kprobe callback on ftrace sets the resume address back after ours has set it.",
            place: "the crate's ftrace.rs, PROBE_UNDOES_REDIRECT; the default says no",
            source: "kprobe_ftrace_handler in arch/SRCARCH/kernel (probes/ftrace.c, kprobes-ftrace.c, kprobes/ftrace.c)",
            needed_by: "a patch of a function with such a probe is refused rather than lost",
            cases: &["G8"],
        }
        ReturnAddress 17 "return_address" {
            what: "The address that a word stands for that a function saved as its return address.",
            place: "the crate's lib.rs, strip_return_address, whose default says: itself; description, saved_return_addresses",
            source: "the instruction set's manual on signed pointers and spare upper bits; ptrauth and the like in arch/SRCARCH/Kconfig",
            needed_by: "stacks are searched for such words before a patch's text may go",
            cases: &["H1.4", "H8", "G1"],
        }
        Shim 18 "shim" {
            what: "What C alone knows: where registers and a sleeping task's state lie; how Rust code is compiled for the kernel.",
            place: "shim.h and build.mk in kmod/arch/SRCARCH, and the architecture's line in arches/src/lib.rs; in a repository of its own in kmod",
            source: "asm/ftrace.h, asm/processor.h (thread_struct), __switch_to; arch/SRCARCH/Makefile (KBUILD_CFLAGS) for the code model \
                     and the registers that the kernel leaves alone",
            needed_by: "klp.ko does not build without",
            cases: &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G12"],
        }
        Guests 19 "guests" {
            what: "What cases expect in a guest: NMIs, kprobes, faults, entries; code of test modules; numbers of system calls.",
            place: "the four files that conformance/guest/arch/README.md names, in conformance/guest/arch/SRCARCH; in a repository of its own \
                    in guest",
            source: "the manual on interrupts; kernel/kprobes.c (check_ftrace_location); the ABI, \"Function Calling Sequence\" and \"Program \
                     Initialization\"; include/uapi/asm/unistd*.h or syscall.tbl",
            needed_by: "test modules and programs do not compile without, and cases do not know what is right",
            cases: &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13", "G14"],
        }
    }
    Branches {
        Reach 20 "reach" {
            what: "What a direct branch reaches.",
            place: "the crate's branch.rs, REACH; description, reach",
            source: "the instruction set's manual: the displacement of the longest direct branch, its unit and where it counts from",
            needed_by: "what is further away goes through a slot",
            cases: &["H2", "H7.7", "H7.8"],
        }
        Branch 21 "branch" {
            what: "Direct branches and calls: encoded, decoded, and told from all other instructions.",
            place: "the crate's branch.rs, BRANCH_LEN, encode, decode; description, branches and manuals.branches",
            source: "the instruction set's manual; the ABI for the register that makes a branch a call; as and objdump for the samples",
            needed_by: "branches in patches are written and checked by them",
            cases: &["H2", "H7.7", "H7.8", "H10"],
        }
        FollowsCall 22 "follows_call" {
            what: "Whether the instruction that ends at an address is a call.",
            place: "the crate's branch.rs, follows_call",
            source: "the instruction set's manual: every instruction that sets the return address, of every length",
            needed_by: "a return address behind no call makes a walk unreliable",
            cases: &["H2.10", "H2.11", "H8"],
        }
        Slot 23 "slot" {
            what: "Code that continues at an address which it reads, by one load, from the aligned doubleword behind it.",
            place: "the crate's branch.rs, SLOT_LEN, SLOT_LITERAL, slot, slot_target",
            source: "the ABI, \"Procedure Linkage Table\"; the manual on single-copy atomicity of aligned loads; \
                     arch/SRCARCH/kernel/module-plts.c or module-sections.c for the kernel's own",
            needed_by: "calls beyond reach, and functions with slots of their own",
            cases: &["H3", "H7.8", "H10", "G13", "G14"],
        }
        SlotRules 24 "slot_rules" {
            what: "What the ABI lets a linker's stub change, landing pads, and a program that executes slots.",
            place: "description, slot and manuals.slots",
            source: "the ABI, \"Procedure Linkage Table\" and its table of registers; the manual on branch target identification",
            needed_by: "slots are carried out, and run under QEMU, by these rules",
            cases: &["H3", "H10"],
        }
        Relocations 25 "relocations" {
            what: "How each relocation of a module is applied, and which of them a slot may serve.",
            place: "the crate's reloc.rs, all of it",
            source: "the ABI, \"Relocation Types\"; apply_relocate_add in arch/SRCARCH/kernel/module.c, for what it accepts and refuses",
            needed_by: "a patch that refers to what is not exported",
            cases: &["H7", "G13"],
        }
        RelocationSamples 26 "relocation_samples" {
            what: "A place for each relocation type, and the values that fit.",
            place: "description, reloc_prefix, relocations, markers, got_entry, got_distance, linker and manuals.relocations; a table in \
                    docs/src/relocations.md",
            source: "the ABI, \"Relocation Types\"; ld, which links each and is believed",
            needed_by: "relocations are compared with the linker's",
            cases: &["H7", "H10"],
        }
        ModuleFlags 27 "module_flags" {
            what: "The options that kernels compile modules with, as far as they change which relocations there are.",
            place: "description, module_flags",
            source: "KBUILD_CFLAGS and KBUILD_CFLAGS_MODULE in arch/SRCARCH/Makefile",
            needed_by: "gcc is asked which relocations it makes",
            cases: &["H7.9", "H7.10", "H7.11", "H10"],
        }
        FloatingPoint 28 "floating_point" {
            what: "Options that make a compiler use vector registers, and those that keep it from floating point.",
            place: "description, vectors and no_fpu",
            source: "arch/SRCARCH/Makefile: how the kernel keeps floating point out; gcc's manual, \"Machine-Dependent Options\"",
            needed_by: "modules are searched for registers that the kernel does not save",
            cases: &["H9", "B1"],
        }
    }
    Unwinding {
        FrameAlign 29 "frame_align" {
            what: "The alignment of frames on the stack.",
            place: "the crate's unwind.rs, FRAME_ALIGN; description, manuals.frames",
            source: "the ABI, \"The Stack Frame\"",
            needed_by: "a frame elsewhere makes a walk unreliable",
            cases: &["H8"],
        }
        SwitchedOut 30 "switched_out" {
            what: "The first frame of a task that sleeps, from what the context switch saved; that of a new task.",
            place: "the crate's unwind.rs, switched_out",
            source: "__switch_to in arch/SRCARCH/kernel/entry.S, copy_thread and ret_from_fork",
            needed_by: "every walk of a sleeping task begins there",
            cases: &["H8", "G10"],
        }
        Step 31 "step" {
            what: "From a frame to its caller's; what an exception leaves; the true bottom of a stack.",
            place: "the crate's unwind.rs, step; ENTRY_TEXT and FTRACE_TEXT, if the defaults are not where its kernels have them",
            source: "the ABI, \"The Stack Frame\"; arch/SRCARCH/kernel/stacktrace.c, entry.S and irq.c; \
                     Documentation/livepatch/reliable-stacktrace.rst",
            needed_by: "every walk; without, all tasks are unreliable",
            cases: &["H8", "G10"],
        }
        Stacks 32 "stacks" {
            what: "Each kind of stack there is, drawn from the ABI, and what a walk of it must find.",
            place: "description, stacks",
            source: "as for the steps, and what tracers and compilers leave; conformance/src/host/stack.rs draws them",
            needed_by: "walks are compared with them",
            cases: &["H8"],
        }
        RecordedStacks 33 "recorded_stacks" {
            what: "How memory dumps are read, and stacks of real kernels that were recorded from one.",
            place: "klp_host::Arch, its entry, page_tables; conformance/fixtures/stacks/NAME-KERNEL, in a repository of its own in stacks",
            source: "the manual on page tables, arch/SRCARCH/include/asm/pgtable.h, arch/SRCARCH/kernel/vmcore_info.c; cargo klp run --dump, \
                     cargo klp stacks --record",
            needed_by: "cargo klp stacks, and walks that have to stay right without a kernel",
            cases: &["H8.5.1"],
        }
    }
    Transitions {
        WayOut 34 "way_out" {
            what: "The functions between a system call, interrupt or exception and user mode that are not entry code.",
            place: "the crate's unwind.rs, WAY_OUT, if there are others than those in kmod/src/universe.rs",
            source: "kernel/entry/common.c if arch/SRCARCH/Kconfig selects GENERIC_ENTRY; else arch/SRCARCH/kernel/entry.S and signal.c",
            needed_by: "tasks that are to leave the kernel before they are switched would wait for ever",
            cases: &["G11"],
        }
    }
    PatchSites {
        Nop 35 "nop" {
            what: "The NOPs that compilers fill room with, and the landing pad that may stand before them.",
            place: "the crate's lib.rs, Patchable: NOP_LEN, nop, landing_pad",
            source: "gcc's manual on -fpatchable-function-entry; its output; the manual on branch target identification",
            needed_by: "room at functions is found by them",
            cases: &["H10", "G14"],
        }
        Flip 36 "flip" {
            what: "The bytes that switch a branch at an entry on and off under CPUs that execute it.",
            place: "the crate's lib.rs, Patchable: FLIP, idle; SLOT_IS_BRANCH, whose default says no",
            source: "the instruction set's manual on modifying code that others execute; arch/SRCARCH/kernel/patch.c, jump_label.c",
            needed_by: "functions are entered through slots of their own by it",
            cases: &["H10", "G14"],
        }
        Room 37 "room" {
            what: "Which options leave how much room, and whether a slot and a branch fit; or why none do.",
            place: "klp_host::Arch, its entry, room; description, patchable; slot.S and build.mk in kmod/arch/SRCARCH, in a repository of its own in kmod, if they do",
            source: "gcc's manual on -fpatchable-function-entry; what gcc makes of it, with and without the options in KBUILD_CFLAGS",
            needed_by: "klp build --patchable, or its refusal",
            cases: &["H10", "G14"],
        }
    }
}

impl Fact {
    /// Its name in one word.
    pub const fn name(self) -> &'static str {
        self.statement().name
    }

    /// Whether `A` has it on its list of what is not stated.
    pub fn is_unstated<A: Architecture>(self) -> bool {
        A::UNSTATED.contains(&self)
    }
}

impl Statement {
    /// Whether a conformance case of this number cannot pass without the fact.
    pub fn is_needed_by(&self, id: &str) -> bool {
        self.cases
            .iter()
            .any(|case| id.strip_prefix(case).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// How many facts up to this stage, included, are in a list of those that are not stated.
pub const fn missing(unstated: &[Fact], stage: Stage) -> usize {
    let mut count = 0;
    let mut i = 0;
    while i < unstated.len() {
        count += (unstated[i].statement().stage as usize <= stage as usize) as usize;
        i += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString as _;

    use super::*;

    #[test]
    fn stages_are_found_by_name_and_follow_each_other() {
        for pair in Stage::ALL.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
            assert_eq!(pair[0].next(), Some(pair[1]));
        }
        assert_eq!(Stage::PatchSites.next(), None);
        for stage in Stage::ALL {
            assert_eq!(Stage::by_name(&stage.to_string()), Some(stage));
        }
        assert_eq!(Stage::by_name("Recognise"), None);
    }

    #[test]
    fn facts_are_in_the_order_of_stages_and_each_is_numbered_once() {
        for pair in Fact::ALL.windows(2) {
            assert!(pair[0].statement().stage <= pair[1].statement().stage, "{pair:?}");
        }
        for (i, fact) in Fact::ALL.iter().enumerate() {
            let statement = fact.statement();
            assert_eq!(statement.fact, *fact);
            assert!(!statement.cases.is_empty(), "{fact:?}");
            for other in &Fact::ALL[..i] {
                let other = other.statement();
                assert!(
                    statement.id != other.id && statement.name != other.name,
                    "{fact:?} and {:?}",
                    other.fact
                );
            }
        }
        for stage in Stage::ALL {
            assert!(Fact::ALL.iter().any(|fact| fact.statement().stage == stage), "{stage} has no fact");
        }
    }

    #[test]
    fn a_case_waits_for_its_group_and_its_own_number() {
        let [names, machine] = [Fact::Names, Fact::ElfMachine].map(Fact::statement);
        assert!(names.is_needed_by("H10.3") && names.is_needed_by("H1.1") && machine.is_needed_by("H1.2"));
        assert!(!names.is_needed_by("H1.3") && !names.is_needed_by("H1.10") && !names.is_needed_by("H100.1"));
    }

    #[test]
    fn what_is_missing_is_counted_up_to_a_stage() {
        let unstated = [Fact::Names, Fact::Shim, Fact::Slot];
        let counts = Stage::ALL.map(|stage| missing(&unstated, stage));
        assert_eq!(counts, [1, 2, 3, 3, 3, 3]);
        assert_eq!(missing(&[], Stage::PatchSites), 0);
    }
}
