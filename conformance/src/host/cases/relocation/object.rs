// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! All relocations of objects that gcc makes with the flags of the kernels' modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use klp_core::reloc::{ByWay, Relocation};
use klp_core::{Addr, Architecture, Endian};
use object::read::elf::{ElfFile64, FileHeader};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags, SymbolIndex,
};

use super::super::{ensure, ensure_eq};
use super::read;
use crate::host::description::Value;
use crate::host::oracle::hex;
use crate::host::toolchain::Toolchain;
use crate::host::{Check, Description};

const SOURCE: &str = include_str!("../../programs/relocations.c");

/// What every kernel is compiled with; and strings as they are, since a linker would merge them and change what refers to
/// them.
const FLAGS: &[&str] = &[
    "-std=gnu11",
    "-fno-common",
    "-fno-strict-aliasing",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-ffreestanding",
    "-fno-merge-constants",
];

/// The types in the objects of `relocations.c`, by section, made with each set of flags.
pub(super) fn types(d: &'static Description) -> Result<BTreeSet<u32>, String> {
    let tools = Toolchain::new(d)?;
    let mut types = BTreeSet::new();
    for flags in d.module_flags {
        let path = tools.compile("object", SOURCE, &[FLAGS, flags].concat())?;
        let bytes = read(&path)?;
        let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
        for section in file.sections().filter(is_loaded) {
            types.extend(section.relocations().filter_map(|(_, relocation)| match relocation.flags() {
                RelocationFlags::Elf { r_type } => Some(r_type),
                _ => None,
            }));
        }
    }
    Ok(types)
}

/// Whether a section is part of a module in memory.
fn is_loaded<'a>(section: &impl ObjectSection<'a>) -> bool {
    let SectionFlags::Elf { sh_flags } = section.flags() else { return false };
    sh_flags & u64::from(object::elf::SHF_ALLOC) != 0
}

pub(super) fn known<A: Architecture>(d: &'static Description) -> Check {
    let types = types(d)?;
    ensure!(types.len() >= 4, "only {types:?}");
    for r_type in types {
        let name = A::type_name(r_type);
        let name = name.ok_or_else(|| format!("gcc emits type {r_type}, which is unknown"))?;
        let short = name.strip_prefix(d.reloc_prefix);
        let is_sample = d.relocations.iter().any(|sample| Some(sample.name) == short);
        ensure!(
            is_sample || d.markers.iter().any(|marker| Some(*marker) == short),
            "gcc emits {name}, which no case compares with the linker"
        );
    }
    Ok(())
}

pub(super) fn as_linked<A: Architecture>(d: &'static Description) -> Check {
    for flags in d.module_flags {
        as_linked_with::<A>(d, flags).map_err(|error| format!("{}: {error}", flags.join(" ")))?;
    }
    Ok(())
}

/// From the start of the text to where the first symbol is that the object does not define, and from one to the next.
const EXTERNALS: u64 = 0x80_0000;
const STRIDE: u64 = 0x1230;

fn as_linked_with<A: Architecture>(d: &'static Description, flags: &[&str]) -> Check {
    let tools = Toolchain::new(d)?;
    let base = d.text[0] & !0xffff;
    let object_bytes = read(&tools.compile("object", SOURCE, &[FLAGS, flags].concat())?)?;
    let object = object::File::parse(&*object_bytes).map_err(|error| error.to_string())?;

    let externals = object.symbols().filter(|it| it.is_undefined() && it.name().is_ok_and(is_external));
    let externals: BTreeMap<String, Addr> = (0..)
        .zip(externals)
        .map(|(i, symbol)| (symbol.name().expect("read above").to_owned(), base + EXTERNALS + i * STRIDE))
        .collect();
    let script = format!(
        "SECTIONS {{ . = {base:#x}; .text : {{ *(.text) }} . = {:#x}; .toc : {{ *(.toc) }} .got : {{ *(.got.plt) *(.got) }} \
         . = {:#x}; }}",
        base + (d.got_distance)(flags),
        base + 0x10_0000
    );
    tools.write("script", &script)?;
    let defines = externals.iter().fold(String::new(), |mut text, (name, addr)| {
        writeln!(text, "--defsym={name}={addr:#x}").expect("a string");
        text
    });
    tools.write("defines", &defines)?;
    let mut args = vec!["--entry=0", "-T", "script", "@defines", "object.ko"];
    args.extend(d.linker);
    let linked_bytes = read(&tools.link("object", &args)?)?;
    let linked = object::File::parse(&*linked_bytes).map_err(|error| error.to_string())?;

    let mut judged = 0;
    for section in object.sections().filter(is_loaded) {
        let name = section.name().map_err(|error| error.to_string())?;
        if section.relocations().next().is_none() {
            continue;
        }
        let out = linked.section_by_name(name).ok_or_else(|| format!("{name} was not linked"))?;
        let expected = out.data().map_err(|error| error.to_string())?;
        let mut found = section.data().map_err(|error| error.to_string())?.to_vec();
        let mut applied = Vec::new();
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let what = format!("{} at {name}+{offset:#x}", A::type_name(r_type).unwrap_or("unknown type"));
            let place = out.address() + offset;
            let named = Named { r_type, offset, symbol: index, addend: relocation.addend() };
            let Named { r_type, symbol: index, addend, .. } = whole::<A>(&object, &section, named);
            let value = symbol(&object, &linked, &externals, index)?;
            let given = given::<A>(d, r_type, value, addend, &object_bytes, index, &linked)?;
            let relocation = Relocation { r_type, place, symbol: given, addend };
            let at = usize::try_from(offset).expect("small");
            let len = A::relocate(&relocation, &mut found[at..]).map_err(|e| format!("{what}: {e:x?}"))?;
            applied.push((at, len, format!("{what} against {value:#x}, addend {addend:#x}")));
            judged += 1;
        }
        // Only now: several relocations may change one place.
        for (at, len, what) in applied {
            ensure_eq!(hex(&found[at..][..len]), hex(&expected[at..][..len]), "{what}");
        }
        ensure!(found == expected, "{name} differs where no relocation is");
    }
    ensure!(judged > 60, "only {judged} relocations");
    Ok(())
}

/// A relocation of an object.
#[derive(Clone, Copy)]
struct Named {
    r_type: u32,
    offset: u64,
    symbol: SymbolIndex,
    addend: i64,
}

/// The relocation as the crate is given it: one that has the low half of what another, at its symbol, has the high half of, as
/// that of the other's symbol.
fn whole<'a, A: Architecture>(
    object: &object::File<'a>,
    section: &impl ObjectSection<'a>,
    low: Named,
) -> Named {
    let Ok(label) = object.symbol_by_index(low.symbol) else { return low };
    if label.section_index() != Some(section.index()) {
        return low;
    }
    let mut there = section.relocations().filter(|(offset, _)| *offset == label.address());
    let high = there.find_map(|(offset, high)| match (high.flags(), high.target()) {
        (RelocationFlags::Elf { r_type }, RelocationTarget::Symbol(symbol)) => {
            let r_type = A::low_half(low.r_type, r_type)?;
            let behind_high = low.offset.wrapping_sub(offset).cast_signed();
            Some(Named { r_type, symbol, addend: high.addend() + behind_high, ..low })
        }
        _ => None,
    });
    high.unwrap_or(low)
}

/// Whether a name is one that the test gives a value; the linker defines the others.
fn is_external(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.starts_with("_GLOBAL_OFFSET_TABLE_")
}

/// A symbol's address in the linked file.
fn symbol(
    object: &object::File<'_>,
    linked: &object::File<'_>,
    externals: &BTreeMap<String, Addr>,
    index: SymbolIndex,
) -> Result<Addr, String> {
    let symbol = object.symbol_by_index(index).map_err(|error| error.to_string())?;
    let name = symbol.name().map_err(|error| error.to_string())?;
    if let Some(section) = symbol.section_index() {
        let section = object.section_by_index(section).map_err(|error| error.to_string())?;
        let name = section.name().map_err(|error| error.to_string())?;
        let out = linked.section_by_name(name).ok_or_else(|| format!("{name} was not linked"))?;
        return Ok(out.address() + symbol.address());
    }
    if let Some(addr) = externals.get(name) {
        return Ok(*addr);
    }
    toc_pointer(linked).ok_or_else(|| format!("no symbol {name}"))
}

/// ELFv2 §3.3: the TOC pointer is 32 KiB behind the start of the TOC.
fn toc_pointer(linked: &object::File<'_>) -> Option<Addr> {
    linked.symbols().find(|it| it.name() == Ok(".TOC.")).map(|it| it.address())
}

/// What the crate documents to be given as the symbol.
fn given<A: Architecture>(
    d: &Description,
    r_type: u32,
    value: Addr,
    addend: i64,
    object: &[u8],
    index: SymbolIndex,
    linked: &object::File<'_>,
) -> Result<u64, String> {
    let short = A::type_name(r_type).and_then(|name| name.strip_prefix(d.reloc_prefix));
    let sample = d.relocations.iter().find(|sample| Some(sample.name) == short);
    let toc = || toc_pointer(linked).ok_or_else(|| "no TOC pointer".to_owned());
    Ok(match sample.map(|sample| sample.value) {
        Some(Value::TocOffset) => value.wrapping_sub(toc()?),
        Some(Value::TocPointer) => toc()?,
        _ if A::by_way(r_type) == ByWay::Literal => literal::<A>(linked, value)?,
        _ if A::is_branch(r_type) && addend == 0 => value + local_entry(object, index)?,
        _ => value,
    })
}

/// The doubleword of the global offset table that holds `value`.
fn literal<A: Architecture>(linked: &object::File<'_>, value: Addr) -> Result<Addr, String> {
    let got = linked.section_by_name(".got").ok_or("no global offset table")?;
    let bytes = match A::ENDIAN {
        Endian::Little => value.to_le_bytes(),
        Endian::Big => value.to_be_bytes(),
    };
    let data = got.data().map_err(|error| error.to_string())?;
    let entry = data.chunks(8).position(|word| word == bytes);
    let entry = entry.ok_or_else(|| format!("{value:#x} is not in the global offset table"))?;
    Ok(got.address() + 8 * entry as u64)
}

/// From a function's global to its local entry point (ELFv2 §3.4.1, the three highest bits of st_other); 0 elsewhere.
fn local_entry(object: &[u8], index: SymbolIndex) -> Result<u64, String> {
    let header = object::elf::FileHeader64::<object::Endianness>::parse(object).map_err(|e| e.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    if header.e_machine.get(endian) != object::elf::EM_PPC64 {
        return Ok(0);
    }
    let file = ElfFile64::<object::Endianness>::parse(object).map_err(|error| error.to_string())?;
    let symbol = file.elf_symbol_table().symbol(index).map_err(|error| error.to_string())?;
    Ok((1 << (symbol.st_other >> 5)) >> 2 << 2)
}
