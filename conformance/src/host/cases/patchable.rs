// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H10: room at functions, in objects that gcc compiles with each option for it.

use klp_core::branch::{BranchKind, BranchTarget};
use klp_core::patchable::{Lack, NoRoom, PatchableEntry, room, site, slot, slot_align, slot_len};
use klp_core::{Addr, Architecture};
use klp_host::patchable::Entry;
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget};

use super::{ensure, ensure_eq};
use crate::host::description::PatchableSample;
use crate::host::oracle::{self, Flow};
use crate::host::toolchain::Toolchain;
use crate::host::{Case, Check, Description};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let manual = "gcc: -fpatchable-function-entry, -mhotpatch; arch/*/Makefile";
    vec![
        Case::new("H10.1", "patchable.room_is_what_the_options_say", manual, geometry::<A>),
        Case::new("H10.2", "patchable.section_names_the_first_nop", manual, section::<A>),
        Case::new("H10.3", "patchable.slots_fit_or_are_refused_by_name", manual, fits::<A>),
        Case::new("H10.4", "patchable.no_room_is_found_in_code_without", manual, none::<A>),
        Case::new(
            "H10.5",
            "patchable.room_at_the_entry_spoils_the_toc_pointer",
            "gcc bug 99888",
            spoilt::<A>,
        )
        .only_if(d.relocations.iter().any(|sample| sample.value.needs_toc()), "there is no TOC pointer"),
        Case::new("H10.6", "patchable.function_enters_its_slot_when_executed", manual, executed::<A>)
            .only_if(
                d.patchable.iter().any(|sample| sample.lack.is_none()),
                "no option makes room at the entry",
            ),
        Case::new("H10.7", "patchable.a_flip_is_all_that_differs", manual, flip::<A>),
        Case::new("H10.8", "patchable.a_filled_slot_is_found_again", manual, filled::<A>).only_if(
            d.patchable.iter().any(|sample| sample.lack.is_none() && sample.one_nop),
            "no option makes one NOP at the entry",
        ),
        Case::new("H10.9", "patchable.the_build_names_functions_without_room", manual, named),
    ]
}

/// One function for each kind of entry: one that can be called indirectly, one that cannot, and one without room.
const SOURCE: &str = "
extern int other(int n);
int global(int n) { return other(n) + 1; }
static __attribute__((noinline)) int local(int n) { return n * 3 + (n >> 2); }
int caller(int n) { return local(n) + local(n + 2); }
";

/// A function of an object: its name, its address in the text, the bytes before it and from it on.
struct Function {
    name: String,
    at: usize,
    text: Vec<u8>,
}

impl Function {
    fn code(&self) -> &[u8] {
        &self.text[self.at..]
    }

    /// As many bytes before it as the option asks for.
    fn before(&self, sample: &PatchableSample) -> Result<&[u8], String> {
        let room = usize::from(sample.before);
        let start =
            self.at.checked_sub(room).ok_or_else(|| format!("{} starts at {:#x}", self.name, self.at))?;
        Ok(&self.text[start..self.at])
    }
}

/// What is in the section of patch sites, as offsets in the text.
type Sites = Vec<u64>;

/// The global entry point computes the TOC pointer from r12, the function's address, by adding what the linker makes of
/// `.TOC. - place`: right where the place is the function's address, too low by what lies before it otherwise.
fn spoilt<A: Architecture>(d: &'static Description) -> Check {
    for (option, room) in [("-fpatchable-function-entry=12,12", 0), ("-fpatchable-function-entry=14,12", 8)] {
        let tools = Toolchain::new(d)?;
        let options = [d.no_fpu, &["-mcmodel=medium", "-fno-asynchronous-unwind-tables", option]].concat();
        let path = tools.compile("patchable", SOURCE, &options)?;
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
        let global = file.symbol_by_name("global").ok_or("no function")?.address();
        let text = file.section_by_name(".text").ok_or("no text")?;
        let is_entry = |r_type| A::type_name(r_type) == Some("R_PPC64_REL16_HA");
        let entry = text.relocations().find(|(offset, relocation)| {
            *offset >= global
                && matches!(relocation.flags(), RelocationFlags::Elf { r_type } if is_entry(r_type))
        });
        let found = entry.map(|(offset, relocation)| (offset - global, relocation.addend()));
        ensure_eq!(found, Some((room, 0)), "where the TOC pointer is computed, with {option}");
    }
    Ok(())
}

fn compile(d: &Description, options: &[&str]) -> Result<(Vec<Function>, Sites), String> {
    let tools = Toolchain::new(d)?;
    let path = tools.compile("patchable", SOURCE, options)?;
    let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
    let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let text = file.section_by_name(".text").ok_or("no text")?;
    let data = text.data().map_err(|error| error.to_string())?;
    let functions: Vec<Function> = file
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(text.index()))
        .filter(|symbol| matches!(symbol.name(), Ok("global" | "local" | "caller")))
        .map(|symbol| Function {
            name: symbol.name().expect("matched").to_owned(),
            at: usize::try_from(symbol.address()).expect("small"),
            text: data.to_vec(),
        })
        .collect();
    ensure_eq!(functions.len(), 3, "functions compiled with {}", options.join(" "));
    let mut sites = Vec::new();
    for section in file.sections().filter(|it| it.name() == Ok("__patchable_function_entries")) {
        for (_, relocation) in section.relocations() {
            ensure!(matches!(relocation.flags(), RelocationFlags::Elf { .. }), "not an ELF object");
            // Against the section, or against a label at the NOP.
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(symbol).map_err(|error| error.to_string())?;
            sites.push(symbol.address().wrapping_add_signed(relocation.addend()));
        }
    }
    Ok((functions, sites))
}

/// Every function of every sample.
fn for_each(
    d: &'static Description,
    judge: impl Fn(&PatchableSample, &Function, &Sites, &str) -> Check,
) -> Check {
    for sample in d.patchable {
        let options = [d.no_fpu, &["-fno-asynchronous-unwind-tables"], sample.options].concat();
        let (functions, sites) = compile(d, &options)?;
        for function in &functions {
            let what = format!("{} compiled with {}", function.name, sample.options.join(" "));
            judge(sample, function, &sites, &what)?;
        }
    }
    Ok(())
}

/// The entry by the option; gcc leaves out the landing pad of a function that nobody can call indirectly.
fn declared(sample: &PatchableSample, function: &Function) -> PatchableEntry {
    let after_offset = if function.name == "local" { 0 } else { sample.landing_pad };
    PatchableEntry { before: sample.before, after: sample.after, after_offset }
}

fn geometry<A: Architecture>(d: &'static Description) -> Check {
    for_each(d, |sample, function, _, what| {
        let found = PatchableEntry::of_code::<A>(function.before(sample)?, function.code());
        ensure_eq!(found, declared(sample, function), "{what}");
        Ok(())
    })
}

fn section<A: Architecture>(d: &'static Description) -> Check {
    for_each(d, |sample, function, sites, what| {
        let found = PatchableEntry::of_code::<A>(function.before(sample)?, function.code());
        let first = found.first_nop(function.at as u64);
        ensure_eq!(sites.contains(&first), sample.in_section, "{what}: {first:#x} is among {sites:x?}");
        ensure!(sample.in_section || sites.is_empty(), "{what}: {sites:x?}");
        Ok(())
    })
}

fn fits<A: Architecture>(d: &'static Description) -> Check {
    for_each(d, |sample, function, _, what| {
        let at: Addr = d.text[0].next_multiple_of(0x1000) + function.at as u64;
        let found = room::<A, _>(&*function.name, at, function.before(sample)?, function.code());
        match sample.lack {
            Some(lack) => {
                ensure_eq!(found, Err(NoRoom { func: &*function.name, at: lack }), "{what}");
                let (text, bytes) = (
                    found.expect_err("compared above").to_string(),
                    match lack {
                        Lack::Before { needed, .. }
                        | Lack::Entry { needed, .. }
                        | Lack::OneNop { needed } => needed,
                    },
                );
                let told =
                    text.contains(&format!("'{}'", function.name)) && text.contains(&bytes.to_string());
                ensure!(told, "{what}: the message is: {text}");
            }
            None => {
                let room = found.map_err(|error| format!("{what}: {error}"))?;
                let end = room.slot + slot_len::<A>() as u64;
                let inside = room.slot >= at - u64::from(sample.before) && end <= at;
                ensure!(
                    inside && room.slot.is_multiple_of(slot_align::<A>()),
                    "{what}: at {at:#x} {room:x?}"
                );
                ensure_eq!(room.site, declared(sample, function).site(at), "{what}: the branch");
                ensure_eq!(room.one_nop, sample.one_nop, "{what}: one NOP at the entry");
                slot::<A>(room.slot, at).map_err(|error| format!("{what}: {error:x?}"))?;
                let branch = A::encode(BranchKind::Jump, room.site, room.slot);
                let branch = branch.map_err(|error| format!("{what}: {error:x?}"))?;
                ensure!(branch.as_bytes().len() <= usize::from(sample.after), "{what}: {branch:?}");
            }
        }
        Ok(())
    })
}

const PROGRAM: &str = include_str!("../programs/patched.c");

/// Where the slot of a program leads: out of a direct branch's reach, unless it is one.
const fn replacement<A: Architecture>() -> Addr {
    if A::SLOT_IS_BRANCH { 0x1800_0000 } else { 0x18_1000_0000 }
}

/// Fills the slot and writes the branch into a program, and runs it before and after.
fn executed<A: Architecture>(d: &'static Description) -> Check {
    for sample in d.patchable.iter().filter(|sample| sample.lack.is_none()) {
        let what = format!("compiled with {}", sample.options.join(" "));
        let tools = Toolchain::new(d)?;
        tools.write("patched.c", PROGRAM)?;
        tools.write("arch.S", d.slot.program)?;
        let far = format!("-Wl,--section-start=.far1={:#x}", replacement::<A>());
        let args = [&["patched.c", "arch.S", &far], d.no_fpu, sample.options].concat();
        let path = tools.program("patched", &args)?;
        ensure_eq!(tools.emulate("patched")?, "original\n", "{what}");

        let mut program = std::fs::read(&path).map_err(|error| error.to_string())?;
        let file = object::File::parse(&*program).map_err(|error| error.to_string())?;
        let function = file.symbol_by_name("patched").ok_or("no function")?.address();
        let text = file.section_by_name(".text").ok_or("no text")?;
        let (start, base) = (text.file_range().ok_or("no bytes")?.0, text.address());
        let offset = |addr: Addr| usize::try_from(addr - base + start).expect("in the file");
        let at = offset(function);
        let before = &program[at - usize::from(sample.before)..at];
        let room = room::<A, _>("patched", function, before, &program[at..]).map_err(|e| e.to_string())?;
        let slot = slot::<A>(room.slot, replacement::<A>()).map_err(|error| format!("{error:?}"))?;
        let branch =
            A::encode(BranchKind::Jump, room.site, room.slot).map_err(|error| format!("{error:?}"))?;
        let (slot_at, site_at) = (offset(room.slot), offset(room.site));
        let mut run = |at: usize, code: &[u8]| {
            program[at..][..code.len()].copy_from_slice(code);
            std::fs::write(&path, &program).map_err(|error| error.to_string())?;
            tools.emulate("patched")
        };
        ensure_eq!(run(slot_at, slot.as_bytes())?, "original\n", "{what}, its slot filled");
        ensure_eq!(run(site_at, branch.as_bytes())?, "replaced\n", "{what}, its slot entered");
        let idle = A::idle(&branch);
        ensure_eq!(run(site_at, idle.as_bytes())?, "original\n", "{what}, its slot no longer entered");
        // Only what is exchanged under CPUs that execute it.
        let flipped = run(site_at + A::FLIP.start, &branch.as_bytes()[A::FLIP])?;
        ensure_eq!(flipped, "replaced\n", "{what}, its slot entered again");
    }
    Ok(())
}

/// How far before an entry slots may be.
const SLOTS: [u64; 4] = [0, 8, 64, 4096];

/// An entry's branch and what takes its place go different ways, and differ in what is exchanged only: as many bytes as are
/// written by one store at any entry, or all of the instruction where the kernel has a protocol for that.
fn flip<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let width = A::FLIP.len();
    let one_store =
        width.is_power_of_two() && d.insn_align.is_multiple_of(width) && A::FLIP.start % width == 0;
    ensure!(
        one_store || A::FLIP == (0..A::BRANCH_LEN),
        "{:?} of {} bytes are exchanged",
        A::FLIP,
        A::BRANCH_LEN
    );
    for (text, before) in d.text.iter().flat_map(|text| SLOTS.map(|before| (text, before))) {
        let site = text.next_multiple_of(A::SLOT_ALIGN);
        let slot = site - (slot_len::<A>() as u64).next_multiple_of(A::SLOT_ALIGN) - before;
        let branch = A::encode(BranchKind::Jump, site, slot).map_err(|error| format!("{error:?}"))?;
        let idle = A::idle(&branch);
        let (on, off) = (branch.as_bytes(), idle.as_bytes());
        ensure_eq!((on.len(), off.len()), (A::BRANCH_LEN, A::BRANCH_LEN), "lengths at {site:#x}");
        let differ: Vec<usize> = (0..A::BRANCH_LEN).filter(|&at| on[at] != off[at]).collect();
        ensure!(
            !differ.is_empty() && differ.iter().all(|at| A::FLIP.contains(at)),
            "bytes {differ:?} differ"
        );
        ensure_eq!(A::nop(off), Some(A::BRANCH_LEN), "{} is a NOP", oracle::hex(off));

        let insn =
            |code: &[u8]| oracle.insn(site, code).ok_or(format!("{}: no instruction", oracle::hex(code)));
        let jump = Flow::Branch { kind: BranchKind::Jump, target: BranchTarget::Direct(slot) };
        ensure_eq!(insn(on)?.flow, jump, "{} says", oracle.name());
        let insn = insn(off)?;
        let (mnemonic, words) = insn.words();
        let goes_on = mnemonic.starts_with("nop")
            || mnemonic == "jgnop"
            || (mnemonic, words.first()) == ("brcl", Some(&"0"));
        ensure!(
            goes_on && insn.len == A::BRANCH_LEN,
            "{} says '{}', of {} bytes",
            oracle.name(),
            insn.text,
            insn.len
        );
    }
    Ok(())
}

/// A slot that was filled once is known again, whether the entry branches to it or not; another entry is not.
fn filled<A: Architecture>(d: &'static Description) -> Check {
    for_each(d, |sample, function, _, what| {
        let at: Addr = d.text[0].next_multiple_of(0x1000) + function.at as u64;
        let (mut before, mut code) = (function.before(sample)?.to_vec(), function.code().to_vec());
        let found = |before: &[u8], code: &[u8]| site::<A, _>(&*function.name, at, before, code);
        let empty = match room::<A, _>(&*function.name, at, &before, &code) {
            Err(lack) => {
                ensure_eq!(found(&before, &code), Err(lack), "{what}");
                return Ok(());
            }
            Ok(room) if !room.one_nop => {
                let lack = Lack::OneNop { needed: A::BRANCH_LEN };
                ensure_eq!(found(&before, &code), Err(NoRoom { func: &*function.name, at: lack }), "{what}");
                return Ok(());
            }
            Ok(room) => room,
        };
        ensure_eq!(found(&before, &code), Ok(empty), "{what}");
        let behind = empty.site + A::BRANCH_LEN as u64;
        let slot = slot::<A>(empty.slot, behind).map_err(|error| format!("{error:?}"))?;
        let start = before.len() - usize::try_from(at - empty.slot).expect("small");
        before[start..][..slot_len::<A>()].copy_from_slice(slot.as_bytes());
        ensure_eq!(found(&before, &code), Ok(empty), "{what}, its slot filled");
        let branch =
            A::encode(BranchKind::Jump, empty.site, empty.slot).map_err(|error| format!("{error:?}"))?;
        let entry = usize::try_from(empty.site - at).expect("small");
        for insn in [A::idle(&branch), branch] {
            code[entry..][..A::BRANCH_LEN].copy_from_slice(insn.as_bytes());
            ensure_eq!(
                found(&before, &code),
                Ok(empty),
                "{what}, its entry {}",
                oracle::hex(insn.as_bytes())
            );
        }
        let elsewhere = A::encode(BranchKind::Jump, empty.site, empty.slot - slot_align::<A>());
        let elsewhere = elsewhere.map_err(|error| format!("{error:?}"))?;
        code[entry..][..A::BRANCH_LEN].copy_from_slice(elsewhere.as_bytes());
        ensure!(
            found(&before, &code).is_err(),
            "{what}, its entry a branch elsewhere: {:?}",
            found(&before, &code)
        );
        Ok(())
    })
}

/// What `klp build --patchable` says of a module's file: nothing unless it declares room, else which functions have it.
fn named(d: &'static Description) -> Check {
    for sample in d.patchable {
        let what = format!("compiled with {}", sample.options.join(" "));
        let options = [d.no_fpu, &["-fno-asynchronous-unwind-tables"], sample.options].concat();
        let bare = match sample.options.iter().any(|option| option.starts_with("-mhotpatch")) {
            true => "hotpatch(0, 0)",
            false => "patchable_function_entry(0, 0)",
        };
        let source = format!(
            "{SOURCE}__attribute__(({bare})) int bare(int n) {{ return other(n) - 1; }}\n\
             const unsigned short klp_patchable[] = {{ {}, {} }};\n",
            sample.before, sample.after
        );
        let found = |source: &str| {
            let tools = Toolchain::new(d)?;
            let path = tools.compile("patchable", source, &options)?;
            let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
            klp_host::patchable::entries(&bytes).map_err(|error| format!("{what}: {error:#}"))
        };
        ensure_eq!(found(SOURCE)?, None, "{what}, without a declaration");
        let entries = found(&source)?.ok_or_else(|| format!("{what}: the declaration is not seen"))?;
        ensure_eq!(entries.len(), 4, "{what}: {entries:?}");
        for Entry { func, lack } in entries {
            let fits = sample.lack.is_none() && sample.one_nop && func != "bare";
            ensure_eq!(lack.is_none(), fits, "{what}: {func}: {lack:?}");
            let named = lack.as_ref().is_none_or(|lack| lack.contains(&format!("'{func}'")));
            ensure!(named, "{what}: {func} is not named: {lack:?}");
        }
    }
    Ok(())
}

fn none<A: Architecture>(d: &'static Description) -> Check {
    let (functions, sites) = compile(d, &[d.no_fpu, &["-fno-asynchronous-unwind-tables"]].concat())?;
    ensure!(sites.is_empty(), "{sites:x?}");
    for function in &functions {
        let found = PatchableEntry::of_code::<A>(&[], function.code());
        ensure_eq!((found.before, found.after), (0, 0), "room at {}", function.name);
        let refused = room::<A, _>(&*function.name, d.text[0] & !0xfff, &[], function.code());
        let lack = Lack::Before { found: 0, needed: slot_len::<A>() };
        ensure_eq!(refused, Err(NoRoom { func: &*function.name, at: lack }), "room at {}", function.name);
    }
    Ok(())
}
