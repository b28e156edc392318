// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the host suite is told about an architecture.
//!
//! All of it comes from the manuals, from compilers or from real kernels; none from the architecture crate.

use klp_core::Addr;
use klp_core::branch::Reach;
use klp_core::ftrace::RegsLayout;
use klp_core::patchable::Lack;
use klp_host::Arch;

use super::evaluate::{Machine, Next};
use super::oracle::{Insn, Oracle};
use super::stack::Stacks;

/// One architecture, for the host suite.
#[derive(Debug)]
pub struct Description {
    /// The name that `--arch` takes.
    pub name: &'static str,
    /// What host tools know of it: its entry of [`klp_host::arches`]. It need not be registered for the host suite.
    pub host: fn() -> Option<&'static Arch>,
    /// Where its golden files and the like are.
    pub files: Files,
    /// Makes the disassembler that is asked.
    pub oracle: fn() -> Box<dyn Oracle>,
    /// The manuals' sections that cases are checked against.
    pub manuals: Manuals,
    /// Addresses of kernel text and of module text.
    pub text: &'static [Addr],
    /// What a direct branch reaches, by the manual.
    pub reach: Reach,
    /// The alignment of instructions in bytes.
    pub insn_align: usize,
    /// An instruction of each family of branches and calls, and of what looks like them: its bytes and its text, as the
    /// GNU assembler made the one of the other.
    pub branches: &'static [(&'static str, &'static str)],
    /// Slots.
    pub slot: Slot,
    /// Functions of real kernels.
    pub sites: &'static [SiteSample],
    /// Whether an instruction at a patch site is one that ftrace or the compiler puts there.
    pub is_site: fn(&Insn) -> bool,
    /// The register block of each kernel.
    pub blocks: &'static [BlockSample],
    /// The prefix of the names of relocation types.
    pub reloc_prefix: &'static str,
    /// Relocations.
    pub relocations: &'static [RelocSample],
    /// Types that gcc emits and that write nothing.
    pub markers: &'static [&'static str],
    /// From the start of the linker's global offset table to the first doubleword that holds an address.
    pub got_entry: u64,
    /// From the start of an object's text to its TOC or global offset table, when it is compiled with these options.
    pub got_distance: fn(options: &[&str]) -> u64,
    /// Sets of options that kernels compile modules with, of those that change what gcc emits relocations for.
    pub module_flags: &'static [&'static [&'static str]],
    /// Options that make room at functions.
    pub patchable: &'static [PatchableSample],
    /// Options of the GNU linker that keep it from rewriting instructions.
    pub linker: &'static [&'static str],
    /// Stacks.
    pub stacks: Stacks,
    /// Words that functions save as return addresses, and the address that each stands for.
    pub saved_return_addresses: &'static [(u64, Addr)],
    /// Options that make a compiler use vector registers; `None` if gcc knows none.
    pub vectors: Option<&'static [&'static str]>,
    /// Options that keep a compiler from using floating-point and vector registers, as kernels are compiled.
    pub no_fpu: &'static [&'static str],
}

impl Description {
    /// The bytes of the samples of branches.
    pub fn branch_code(&self) -> Vec<Vec<u8>> {
        self.branches.iter().map(|(code, _)| bytes(code)).collect()
    }
}

/// Where files are that belong to a description.
#[derive(Debug)]
pub struct Files {
    /// What the package is called that has the suite as its test `conformance`; `NAME` in it is the architecture's name.
    pub package: &'static str,
    /// The directory of golden files: `NAME/CASE.snap` in it.
    pub golden: &'static str,
    /// The directory of recorded stacks: `NAME-KERNEL/*.txt` in it.
    pub stacks: &'static str,
    /// The page with the table of relocation types.
    pub relocations: &'static str,
}

impl Files {
    /// Those of this workspace.
    pub const HERE: Files = Files {
        package: "klp-arch-NAME",
        golden: concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        stacks: concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/stacks"),
        relocations: concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/relocations.md"),
    };

    /// The command that writes the file that the case of this name compares with.
    pub(crate) fn approve(&self, arch: &str, case: &str) -> String {
        let package = self.package.replace("NAME", arch);
        format!("INSTA_UPDATE=always cargo test -p {package} --test conformance -- {case}")
    }
}

/// Sections of manuals.
#[derive(Debug)]
pub struct Manuals {
    /// Branch instructions.
    pub branches: &'static str,
    /// What a linker's stub may change.
    pub slots: &'static str,
    /// The function's entry and ftrace's site.
    pub sites: &'static str,
    /// ftrace's trampoline.
    pub trampoline: &'static str,
    /// Relocation types.
    pub relocations: &'static str,
    /// Stack frames.
    pub frames: &'static str,
}

/// What the ABI says of code between caller and callee.
#[derive(Debug)]
pub struct Slot {
    /// Registers that it may change.
    pub may_change: &'static [&'static str],
    /// Texts of the instructions that an indirect branch may land on; empty where it may land on any.
    pub landing_pads: &'static [&'static str],
    /// Registers that hold the target's address when it is entered.
    pub hold_target: &'static [&'static str],
    /// Whether it may store a doubleword at this address, registers being [`Machine::initial`].
    pub may_store: fn(Addr) -> bool,
    /// What a slot for calls, and no other, stores: which register, where (another register and a displacement).
    pub calls_save: Option<(&'static str, &'static str, u64)>,
    /// What compilers leave behind a call to another object, in hexadecimal; and what is to be there if it goes through a
    /// slot.
    pub behind_call: [&'static str; 2],
    /// Whether calls to another object go through a slot even if it is in reach.
    pub between_objects: bool,
    /// Assembly for the program that executes slots.
    pub program: &'static str,
    /// Carries out one instruction.
    pub effect: fn(&mut Machine, &Insn) -> Option<Next>,
}

/// A function of a real kernel, as its memory was read while the kernel ran.
#[derive(Debug)]
pub struct SiteSample {
    /// The kernel's id.
    pub kernel: &'static str,
    /// The function.
    pub function: &'static str,
    /// The address of its symbol.
    pub at: Addr,
    /// From its address to ftrace's site; `None` for a function that cannot be traced.
    pub site: Option<u64>,
    /// From its address to where a kprobe that was placed by its name lies.
    pub probe: u64,
    /// Its first bytes, nothing being traced.
    pub off: &'static str,
    /// Its first bytes while the function tracer traces it.
    pub on: &'static str,
}

impl SiteSample {
    /// Its bytes in both states.
    pub fn states(&self) -> [(&'static str, Vec<u8>); 2] {
        [("disabled", bytes(self.off)), ("enabled", bytes(self.on))]
    }
}

/// Bytes written in hexadecimal.
///
/// # Panics
///
/// On anything else; the samples are constants.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// A kernel's register block.
#[derive(Debug)]
pub struct BlockSample {
    /// The kernel's id.
    pub kernel: &'static str,
    /// `offsetof` in its headers.
    pub layout: RegsLayout,
}

/// A relocation type, and a place for it.
#[derive(Debug)]
pub struct RelocSample {
    /// The type's name, without the prefix `R_ARCH_`.
    pub name: &'static str,
    /// Assembly of the place, with the label `place` where the relocation is.
    pub code: &'static str,
    /// What its value is computed from.
    pub value: Value,
    /// Values that fit.
    pub values: &'static [i64],
    /// The values that fit, by the manual.
    pub limits: Limits,
    /// Whether it is a branch that may go to a slot instead.
    pub is_branch: bool,
    /// Whether that branch is a call.
    pub is_call: bool,
    /// Whether it refers to a doubleword that holds the symbol's address; the value is computed from the doubleword's.
    pub is_literal: bool,
    /// Whether the linker is asked with an addend, too. Not where its formula for one is another than the manual's and the
    /// kernel's.
    pub has_addend: bool,
    /// If it has the low half of a value: the name of the type that has the high half, at the label `high`. The value is
    /// computed from there.
    pub high_half: Option<&'static str>,
}

impl RelocSample {
    /// A type whose places are data or no branch.
    pub const fn new(
        name: &'static str,
        code: &'static str,
        value: Value,
        values: &'static [i64],
        limits: Limits,
    ) -> RelocSample {
        RelocSample {
            name,
            code,
            value,
            values,
            limits,
            is_branch: false,
            is_call: false,
            is_literal: false,
            has_addend: true,
            high_half: None,
        }
    }

    /// The same for a jump.
    pub const fn jump(mut self) -> RelocSample {
        self.is_branch = true;
        self
    }

    /// The same for a call.
    pub const fn call(mut self) -> RelocSample {
        self.is_call = true;
        self.jump()
    }

    /// The same for a reference to a doubleword that holds the symbol's address.
    pub const fn literal(mut self) -> RelocSample {
        self.is_literal = true;
        self
    }

    /// The same for a type whose addend the linker treats in another way than the manual and the kernel.
    pub const fn without_addend(mut self) -> RelocSample {
        self.has_addend = false;
        self
    }

    /// The same for the low half of what a relocation of the type `high` has the high half of.
    pub const fn low_half(mut self, high: &'static str) -> RelocSample {
        self.high_half = Some(high);
        self
    }
}

/// The values that a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// All; what does not fit is cut off.
    None,
    /// Those between two, both included, that are a multiple of `step`.
    Range {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
        /// What they are multiples of.
        step: i64,
    },
    /// All multiples of this; what does not fit is cut off.
    Step(i64),
}

impl Limits {
    /// A signed field of `bits` bits that counts units of `step`.
    pub const fn signed(bits: u32, step: i64) -> Limits {
        Limits::Range { min: -(1 << (bits - 1)) * step, max: ((1 << (bits - 1)) - 1) * step, step }
    }

    /// An unsigned field of `bits` bits.
    pub const fn unsigned(bits: u32) -> Limits {
        Limits::Range { min: 0, max: (1 << bits) - 1, step: 1 }
    }

    /// Values at the limits, which fit.
    pub fn inside(self) -> Vec<i64> {
        match self {
            Limits::None => vec![0, -1, i64::MIN, i64::MAX],
            Limits::Step(step) => vec![0, -step, step],
            Limits::Range { min, max, .. } => vec![0, min, max],
        }
    }

    /// Values that do not fit.
    pub fn outside(self) -> Vec<i64> {
        match self {
            Limits::None => vec![],
            Limits::Step(step) => vec![1, step + 1, step / 2],
            Limits::Range { min, max, step: 1 } => vec![min - 1, max + 1, i64::MIN / 2, i64::MAX / 2],
            Limits::Range { min, max, step } => vec![min - step, max + step, step + 1, step / 2],
        }
    }
}

/// Options that make room at functions, and the room that they make, in bytes.
#[derive(Debug)]
pub struct PatchableSample {
    /// The options.
    pub options: &'static [&'static str],
    /// Before the function.
    pub before: u16,
    /// At its entry.
    pub after: u16,
    /// Length of the landing pad of functions that can be called indirectly.
    pub landing_pad: u16,
    /// Whether gcc lists it in the section `__patchable_function_entries`.
    pub in_section: bool,
    /// Whether one NOP as long as a branch is at the entry.
    pub one_nop: bool,
    /// What keeps a slot and a branch to it from fitting.
    pub lack: Option<Lack>,
}

/// What the value of a relocation is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The symbol and the addend.
    Absolute,
    /// The distance from the place to them.
    Distance,
    /// The distance from the page of the place to their page; the values are such distances.
    PageDistance,
    /// The distance from the TOC pointer to them.
    TocOffset,
    /// The TOC pointer alone.
    TocPointer,
}

impl Value {
    /// Whether it takes part of its value from the TOC pointer.
    pub const fn needs_toc(self) -> bool {
        matches!(self, Value::TocOffset | Value::TocPointer)
    }
}
