// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Real objects of each architecture's compiler, converted, and read back with what reads any object.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use klp_core::stated::Fact;
use object::read::elf::FileHeader;
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget};

use super::*;
use crate::Arch;

/// Those that have a compiler, and whose relocations are known.
fn arches() -> impl Iterator<Item = &'static Arch> {
    Arch::stating(&[Fact::Names, Fact::Slot, Fact::Relocations])
}

const PATCH: &str = r#"
static const unsigned long recorded[7] __attribute__((section(".klp.relocations"), used)) = { 0 };
int exported(int), hidden(int), declared(int);
extern int hidden_data;
asm(".pushsection .note.klp.declared, \"\"\n\t.asciz \"declared\", \"a_module\", \"its_name\", \"2\"\n\t.popsection");
int (*pointer)(int) = hidden;
int call(int x) { return hidden(x) + hidden(x + 1) + declared(x) + exported(x) + hidden_data; }
"#;

fn compile(arch: &Arch, source: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("dir");
    let (c, o) = (dir.path().join("patch.c"), dir.path().join("patch.o"));
    std::fs::write(&c, source).expect("write");
    let mut gcc = Command::new(format!("{}-gcc", arch.triple));
    gcc.args(["-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-c", "-o"])
        .arg(&o)
        .arg(&c);
    // As the kernels' modules are compiled.
    gcc.args(match arch.name {
        "x86_64" => &["-fno-pic", "-mcmodel=kernel"][..],
        "s390" => &["-fPIC"],
        "riscv64" => &["-fno-pic", "-mcmodel=medany", "-mno-relax"],
        _ => &["-fno-pic"],
    });
    let output = gcc.output().expect("a compiler for each architecture");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&o).expect("an object")
}

fn exported() -> HashSet<String> {
    HashSet::from(["exported".to_owned()])
}

/// Section, offset, type, addend and symbol of a relocation in what is loaded.
type Found<S = String> = (String, u64, u32, i64, S);
/// Object, name and position.
type StandsFor = (String, String, u64);

/// The relocations of an object that are against undefined symbols; and those against sections, with the section's name.
fn relocations(object: &[u8]) -> (BTreeSet<Found>, BTreeSet<Found>) {
    let file = object::File::parse(object).expect("an object");
    let (mut undefined, mut sections) = (BTreeSet::new(), BTreeSet::new());
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            let symbol = file.symbol_by_index(index).expect("a symbol");
            let name = section.name().expect("a name").to_owned();
            let found = |symbol: &str| (name.clone(), offset, r_type, relocation.addend(), symbol.to_owned());
            if symbol.is_undefined() {
                undefined.insert(found(symbol.name().expect("a name")));
            } else if let Some(section) = symbol.section_index() {
                let section = file.section_by_index(section).expect("a section");
                sections.insert(found(section.name().expect("a name")));
            }
        }
    }
    (undefined, sections)
}

/// The relocations that have the low halves of what some of `found` have the high halves of: as recorded against their symbols.
fn low_halves(arch: &Arch, object: &[u8], found: &BTreeSet<Found>) -> BTreeSet<Found> {
    let file = object::File::parse(object).expect("an object");
    let mut halves = BTreeSet::new();
    for section in file.sections() {
        let name = section.name().expect("a name");
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            let label = file.symbol_by_index(index).expect("a symbol");
            if label.section_index() != Some(section.index()) {
                continue;
            }
            for (_, at, high, addend, symbol) in
                found.iter().filter(|found| found.0 == name && found.1 == label.address())
            {
                if let Some(half) = (arch.facts.low_half)(r_type, *high) {
                    let addend = addend + offset.wrapping_sub(*at).cast_signed();
                    halves.insert((name.to_owned(), offset, half, addend, symbol.clone()));
                }
            }
        }
    }
    halves
}

fn data(object: &[u8], name: &str) -> Vec<u8> {
    let file = object::File::parse(object).expect("an object");
    file.section_by_name(name).unwrap_or_else(|| panic!("no {name}")).data().expect("data").to_vec()
}

/// Reads the tables of a converted module back: the relocations as they were, with what their symbols stand for.
fn recorded(object: &[u8]) -> (BTreeSet<Found<usize>>, Vec<StandsFor>) {
    let header = object::elf::FileHeader64::<Endianness>::parse(object).expect("a header");
    let endian = header.endian().expect("an endianness");
    let word = |bytes: &[u8], at: usize| {
        let bytes: [u8; 8] = bytes[at..at + 8].try_into().expect("8 bytes");
        if endian.is_big_endian() { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    };
    let half = |bytes: &[u8], at: usize| {
        let bytes: [u8; 4] = bytes[at..at + 4].try_into().expect("4 bytes");
        if endian.is_big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let (_, addresses) = relocations(object);
    let address = |section: &str, at: usize| {
        let found = addresses.iter().find(|found| found.0 == section && found.1 == at as u64);
        found.map(|(_, _, _, addend, to)| (to.clone(), addend.cast_unsigned()))
    };
    let strings = data(object, ".klp.strings");
    let string = |at: u64| {
        let text = &strings[usize::try_from(at).expect("small")..];
        String::from_utf8_lossy(text.split(|byte| *byte == 0).next().expect("a string")).into_owned()
    };
    let table = data(object, ".klp.symbols");
    let symbol = |at: usize| {
        let object = address(".klp.symbols", at).map_or_else(|| "vmlinux".to_owned(), |(_, at)| string(at));
        let (_, name) = address(".klp.symbols", at + 8).expect("a name");
        (object, string(name), word(&table, at + 16))
    };
    let symbols = (0..table.len()).step_by(56).map(symbol).collect();
    let table = data(object, ".klp.relocs");
    let relocs = (0..table.len()).step_by(32).map(|at| {
        let (section, offset) = address(".klp.relocs", at).expect("a place");
        let room = data(object, &section).len() as u64 - offset;
        assert_eq!(u64::from(half(&table, at + 24)), room, "room at {section}+{offset:#x}");
        let symbol = usize::try_from(half(&table, at + 20)).expect("small");
        (section, offset, half(&table, at + 16), word(&table, at + 8).cast_signed(), symbol)
    });
    (relocs.collect(), symbols)
}

#[test]
fn every_reference_to_what_is_not_exported_is_recorded_and_no_other() {
    for arch in arches() {
        let object = compile(arch, PATCH);
        let converted =
            convert(&object, &exported(), None).expect("it can be").expect("there are such").module;
        let (before, _) = relocations(&object);
        let (after, addresses) = relocations(&converted);
        let own = |found: &&Found| found.4 != "exported" && found.4 != ".TOC.";
        let expected: BTreeSet<Found> =
            before.iter().filter(own).filter(|found| !found.0.starts_with(".debug")).cloned().collect();
        assert!(expected.len() >= 5, "{arch}: calls, data, a pointer: {expected:?}");
        let halves = low_halves(arch, &object, &expected);
        assert_eq!(!halves.is_empty(), arch.name == "riscv64", "{arch}: {halves:?}");
        let left =
            addresses.iter().filter(|left| halves.iter().any(|half| (&half.0, half.1) == (&left.0, left.1)));
        assert_eq!(left.count(), 0, "{arch}: low halves whose high halves are gone: {addresses:?}");
        let expected: BTreeSet<Found> = expected.union(&halves).cloned().collect();
        assert_eq!(after.iter().filter(own).count(), 0, "{arch}: {after:?}");
        assert!(after.is_subset(&before) && !after.is_empty(), "{arch}: the others are as they were");
        let (relocs, symbols) = recorded(&converted);
        let name = |index: usize| match symbols[index].1.as_str() {
            "its_name" => "declared".to_owned(),
            name => name.to_owned(),
        };
        let found: BTreeSet<Found> = relocs
            .into_iter()
            .map(|(section, offset, r_type, addend, symbol)| (section, offset, r_type, addend, name(symbol)))
            .collect();
        assert_eq!(found, expected, "{arch}");
        let symbols: BTreeMap<_, _> = symbols
            .iter()
            .map(|(object, name, position)| (name.as_str(), (object.as_str(), *position)))
            .collect();
        let stands_for =
            [("hidden", ("vmlinux", 0)), ("hidden_data", ("vmlinux", 0)), ("its_name", ("a_module", 2))];
        assert_eq!(symbols, BTreeMap::from(stands_for), "{arch}");
        let parts: Vec<_> = addresses.iter().filter(|found| found.0 == ".klp.relocations").collect();
        let parts: Vec<_> = parts.iter().map(|found| (found.1, found.4.as_str())).collect();
        assert_eq!(parts, [(8, ".klp.relocs"), (24, ".klp.symbols"), (40, ".klp.slots")], "{arch}");
        let file = object::File::parse(&*converted).expect("an object");
        assert!(file.section_by_name(DECLARED).is_none(), "{arch}: it has served");
        let slots = file.section_by_name(".klp.slots").expect("slots");
        let object::SectionFlags::Elf { sh_flags } = slots.flags() else { panic!("{arch}: ELF") };
        assert_eq!(sh_flags, u64::from(SHF_ALLOC | SHF_EXECINSTR), "{arch}");
        // Two functions, and on s390 a variable whose address is read from memory.
        let facts = &arch.facts;
        let count = if arch.name == "s390" { 3 } else { 2 };
        assert!(slots.size() >= (2 * facts.slot_len) as u64, "{arch}: {}", slots.size());
        assert!(slots.size() <= ((count + 1) * facts.slot_len) as u64, "{arch}: {}", slots.size());
        assert!(
            convert(&converted, &exported(), None).expect("it can be").is_none(),
            "{arch}: nothing is left to do"
        );
    }
}

#[test]
fn a_module_without_such_references_stays_as_it_is() {
    for arch in arches() {
        let all = ["exported", "hidden", "hidden_data"].map(str::to_owned).into();
        let source = PATCH.replace("declared(x)", "hidden(x)");
        assert!(convert(&compile(arch, &source), &all, None).expect("it can be").is_none(), "{arch}");
    }
}

#[test]
fn what_cannot_be_converted_is_told() {
    let told = |source: &str| {
        arches()
            .map(|arch| convert(&compile(arch, source), &exported(), None).expect_err("refused").to_string())
            .collect()
    };
    let same = |texts: Vec<String>, expected: &str| {
        texts.iter().for_each(|text| assert!(text.contains(expected), "{text}"))
    };
    same(told(&PATCH.replace(".klp.relocations", ".other")), " are not exported by the kernel: only a patch");
    let init = PATCH.replace("int call(", "__attribute__((section(\".init.text\"))) int call(");
    same(told(&init), "section .init.text refers to '");
    same(
        told(&PATCH.replace("\\\"2\\\"", "\\\"second\\\"")),
        "KLP_RELOC_SYMBOL for 'declared': the position is no number",
    );
}

#[test]
fn sections_that_are_used_before_the_patch_is_enabled_may_not_refer() {
    for section in [".text", ".text.unlikely", ".rodata", ".rodata.str1.1", ".data", ".data.rel.ro", ".toc"] {
        assert!(may_refer(section), "{section}");
    }
    for section in
        [".init.text", ".exit.text", "__jump_table", ".altinstructions", ".data..percpu", ".textual"]
    {
        assert!(!may_refer(section), "{section}");
    }
}

const KERNEL: &str = r#"
const char banner[] __attribute__((used)) = "Linux version 6.1.0-test ";
int hidden_data = 1;
static int twin_data[2] __attribute__((used)) = { 1, 2 };
int first(void) { return hidden_data; }
int second(void) { return twin_data[0]; }
int last(void) { return first() + second(); }
void _start(void) { last(); }
"#;

/// The patch's symbols that have an anchor: the name, and the four words, of which two are names.
fn anchors(object: &[u8]) -> Vec<(String, String, String)> {
    let (_, addresses) = relocations(object);
    let strings = data(object, ".klp.strings");
    let string = |at: usize| {
        let found = addresses.iter().find(|found| found.0 == ".klp.symbols" && found.1 == at as u64)?;
        let text = &strings[usize::try_from(found.3).expect("small")..];
        Some(String::from_utf8_lossy(text.split(|byte| *byte == 0).next()?).into_owned())
    };
    let rows = (0..data(object, ".klp.symbols").len()).step_by(56);
    rows.filter_map(|at| Some((string(at + 8)?, string(at + 24)?, string(at + 40)?))).collect()
}

#[test]
fn variables_are_looked_up_in_a_vmlinux() {
    for arch in arches() {
        let dir = tempfile::tempdir().expect("dir");
        let (c, elf) = (dir.path().join("kernel.c"), dir.path().join("vmlinux"));
        std::fs::write(&c, KERNEL).expect("write");
        let mut gcc = Command::new(format!("{}-gcc", arch.triple));
        gcc.args(["-O0", "-nostdlib", "-static", "-no-pie", "-fno-pie", "-o"]).arg(&elf).arg(&c);
        assert!(gcc.status().expect("a compiler").success(), "{arch}");
        let vmlinux = Vmlinux::parse(&std::fs::read(&elf).expect("read")).expect("it has symbols");
        assert!(vmlinux.anchor.addr < vmlinux.witness.addr, "{arch}: {vmlinux:?}");
        assert!(vmlinux.variable("hidden_data", 0).is_some() && vmlinux.variable("hidden_data", 2).is_none());
        assert_eq!(vmlinux.variable("hidden_data", 0), vmlinux.variable("hidden_data", 1), "{arch}");
        assert_eq!(vmlinux.variable("first", 0), None, "{arch}: a function is listed");
        let object = compile(arch, PATCH);
        let without = convert(&object, &exported(), None).expect("it can be").expect("there are such");
        assert_eq!(
            (without.unlisted, anchors(&without.module)),
            (vec!["hidden_data".to_owned()], vec![]),
            "{arch}"
        );
        let with = convert(&object, &exported(), Some(&vmlinux)).expect("it can be").expect("there are such");
        let expected = ("hidden_data".to_owned(), vmlinux.anchor.name.clone(), vmlinux.witness.name.clone());
        assert_eq!((with.unlisted, anchors(&with.module)), (vec![], vec![expected]), "{arch}");
        let mut told = with.symbols;
        told.sort();
        assert_eq!(told, ["a_module:its_name,2", "vmlinux:hidden", "vmlinux:hidden_data"], "{arch}");
        let table = data(&with.module, ".klp.symbols");
        let row = table.chunks_exact(56).find(|row| row[48..] != [0; 8]).expect("one with an anchor");
        let word = |at: usize| {
            let bytes = row[at..at + 8].try_into().expect("8 bytes");
            if arch.facts.endian == klp_core::Endian::Big {
                u64::from_be_bytes(bytes)
            } else {
                u64::from_le_bytes(bytes)
            }
        };
        let from_anchor = |addr: u64| addr.wrapping_sub(vmlinux.anchor.addr);
        let variable = vmlinux.variable("hidden_data", 0).expect("it has one");
        assert_eq!([word(32), word(48)], [variable, vmlinux.witness.addr].map(from_anchor), "{arch}");
    }
}
