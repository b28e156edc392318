// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H7: relocations, against what the GNU linker makes of the same object at the same addresses.

use std::fs;
use std::path::Path;

use klp_core::reloc::{RelocError, Relocation};
use klp_core::{Addr, Architecture};
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags};

use super::{ensure, ensure_eq};
use crate::host::description::{RelocSample, Value};
use crate::host::oracle::hex;
use crate::host::toolchain::{ToolError, Toolchain};
use crate::host::{Case, Check, Description};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let manual = d.manuals.relocations;
    vec![
        Case::new("H7.1", "relocation.values_are_the_linkers", manual, values::<A>),
        Case::new("H7.2", "relocation.refuses_what_does_not_fit", manual, refusals::<A>),
        Case::new(
            "H7.3",
            "relocation.refuses_code_cut_short",
            "klp_core::Relocate::relocate",
            cut_short::<A>,
        ),
        Case::new("H7.4", "relocation.refuses_unknown_types", manual, unknown::<A>),
        Case::new("H7.5", "relocation.branches_are_those_a_slot_may_serve", manual, branches::<A>),
    ]
}

/// An object with one relocation of a type.
struct Object1<'a> {
    sample: &'a RelocSample,
    name: String,
    r_type: u32,
    addend: i64,
    /// From the start of the text to the place.
    offset: usize,
    text: Vec<u8>,
}

/// What the linker made of a relocation.
#[derive(Debug, PartialEq, Eq)]
enum Linked {
    /// These bytes.
    Text(Vec<u8>),
    /// It refused, or put a stub between the branch and its target.
    No(String),
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn assemble<'a>(
    tools: &Toolchain,
    d: &Description,
    sample: &'a RelocSample,
    addend: i64,
) -> Result<Object1<'a>, String> {
    let prefix = d.reloc_prefix;
    let name = format!("{prefix}{}", sample.name);
    // The TOC is at an address of its own; the linker puts the TOC pointer 32 KiB behind its start.
    let toc = if sample.value.needs_toc() { ".section .got,\"aw\"\n.space 16\n" } else { "" };
    let source = format!(
        "{toc}.text\n.globl _start\n_start:\n{}\n.reloc place, {name}, sym + {addend}\n",
        sample.code
    );
    let path = tools.assemble(sample.name, &source)?;
    let bytes = read(&path)?;
    let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let section = file.section_by_name(".text").ok_or("the object has no text")?;
    let text = section.data().map_err(|error| error.to_string())?.to_vec();
    let mut relocations = section.relocations();
    let (Some((offset, relocation)), None) = (relocations.next(), relocations.next()) else {
        return Err(format!("{name}: expected one relocation in\n{source}"));
    };
    let RelocationFlags::Elf { r_type } = relocation.flags() else {
        return Err("not an ELF object".to_owned());
    };
    let offset = usize::try_from(offset).expect("small");
    Ok(Object1 { sample, name, r_type, addend: relocation.addend(), offset, text })
}

/// Links the object so that its place is at `place` and the symbol has the value.
fn link(
    tools: &Toolchain,
    d: &Description,
    object: &Object1<'_>,
    base: Addr,
    symbol: u64,
) -> Result<Linked, String> {
    let (text, toc) =
        (format!("--section-start=.text={base:#x}"), format!("--section-start=.got={:#x}", toc(base)));
    let (symbol, file) = (format!("--defsym=sym={symbol:#x}"), format!("{}.o", object.sample.name));
    let mut args = vec!["--entry=0", &text, &symbol, &file];
    if object.sample.value.needs_toc() {
        args.push(&toc);
    }
    args.extend(d.linker);
    let path = match tools.link(object.sample.name, &args) {
        Ok(path) => path,
        Err(ToolError::Missing(message)) => return Err(message),
        Err(ToolError::Refused(message)) => return Ok(Linked::No(message)),
    };
    let bytes = read(&path)?;
    let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let section = file.section_by_name(".text").ok_or("no text was linked")?;
    ensure_eq!(section.address(), base, "{}: address of the linked text", object.name);
    let text = section.data().map_err(|error| error.to_string())?.to_vec();
    if file.symbols().any(|symbol| symbol.name().is_ok_and(|name| name.contains("_veneer")))
        || text.len() > object.text.len() + 15
    {
        return Ok(Linked::No("a stub".to_owned()));
    }
    Ok(Linked::Text(text[..object.text.len()].to_vec()))
}

/// Where the TOC of text at `base` is put.
fn toc(base: Addr) -> Addr {
    base + 0x100_0000
}

/// From the TOC to the TOC pointer (ELFv2 §3.3, "TOC").
const TOC_POINTER: u64 = 0x8000;

/// The symbol's value that makes the relocation's value `value`.
fn symbol(object: &Object1<'_>, place: Addr, base: Addr, value: i64) -> u64 {
    let origin = match object.sample.value {
        Value::Absolute | Value::TocPointer => 0,
        Value::Distance => place,
        Value::PageDistance => place & !0xfff,
        Value::TocOffset => toc(base) + TOC_POINTER,
    };
    origin.wrapping_add_signed(value).wrapping_sub(object.addend.cast_unsigned())
}

/// What the caller of `relocate` passes as the symbol: for the TOC types, what the crate documents.
fn given(value: Value, symbol: u64, base: Addr) -> u64 {
    match value {
        Value::TocOffset => symbol.wrapping_sub(toc(base) + TOC_POINTER),
        Value::TocPointer => toc(base) + TOC_POINTER,
        _ => symbol,
    }
}

/// Applies relocations of every type, with the values that `choose` makes of the sample, and hands the result to `judge`:
/// what was asked, what the linker made of it, what the crate made of it.
fn for_each<A: Architecture>(
    d: &'static Description,
    choose: fn(&RelocSample) -> Vec<i64>,
    mut judge: impl FnMut(&str, &Linked, &Result<Vec<u8>, RelocError>) -> Check,
) -> Check {
    let tools = Toolchain::new(d.name)?;
    let base = d.text[0] & !0xffff;
    let (mut complaints, mut judged) = (Vec::new(), 0);
    for sample in d.relocations {
        // A TOC pointer has no addend (ELFv2: ".TOC."), though the linker adds one.
        let addends: &[i64] = if sample.value == Value::TocPointer { &[0] } else { &[0, 0x28] };
        for &addend in addends {
            let object = assemble(&tools, d, sample, addend)?;
            let place = base + object.offset as u64;
            let mut values = choose(sample);
            values.truncate(if addend == 0 { values.len() } else { 1 });
            for value in values {
                let symbol = symbol(&object, place, base, value);
                let linked = link(&tools, d, &object, base, symbol)?;
                let symbol = given(sample.value, symbol, base);
                let relocation = Relocation { r_type: object.r_type, place, symbol, addend: object.addend };
                let mut text = object.text.clone();
                let applied = A::relocate(&relocation, &mut text[object.offset..]);
                if applied.is_err() && text != object.text {
                    complaints.push(format!("{}: refused, but the code was changed", object.name));
                }
                let what = format!("{} with the value {value:#x}, addend {addend:#x}", object.name);
                complaints.extend(judge(&what, &linked, &applied.map(|_| text)).err());
                judged += 1;
            }
        }
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    ensure!(judged > d.relocations.len(), "only {judged} relocations applied");
    Ok(())
}

fn show(found: &Result<Vec<u8>, RelocError>) -> String {
    found.as_ref().map_or_else(|error| format!("refused, {error:x?}"), |text| hex(text))
}

fn values<A: Architecture>(d: &'static Description) -> Check {
    let choose = |sample: &RelocSample| [sample.values, &sample.limits.inside()].concat();
    for_each::<A>(d, choose, |what, linked, found| match linked {
        Linked::Text(text) => {
            ensure!(found.as_ref() == Ok(text), "{what}: {}, the linker made {}", show(found), hex(text));
            Ok(())
        }
        Linked::No(reason) => Err(format!("{what}: the manual says that it fits, the linker: {reason}")),
    })
}

/// What the manual says does not fit. The linker is not asked: some of its checks are laxer.
fn refusals<A: Architecture>(d: &'static Description) -> Check {
    for_each::<A>(
        d,
        |sample| sample.limits.outside(),
        |what, linked, found| {
            let refused = matches!(found, Err(RelocError::Overflow { .. } | RelocError::Misaligned(_)));
            ensure!(refused, "{what} does not fit: {} (the linker: {linked:x?})", show(found));
            Ok(())
        },
    )
}

fn cut_short<A: Architecture>(d: &'static Description) -> Check {
    let tools = Toolchain::new(d.name)?;
    let base = d.text[0] & !0xffff;
    for sample in d.relocations {
        let object = assemble(&tools, d, sample, 0)?;
        let place = base + object.offset as u64;
        let symbol = symbol(&object, place, base, sample.values[0]);
        let symbol = given(sample.value, symbol, base);
        let relocation = Relocation { r_type: object.r_type, place, symbol, addend: 0 };
        let mut text = object.text.clone();
        let written = A::relocate(&relocation, &mut text[object.offset..]);
        let written = written.map_err(|error| format!("{}: refused, {error:x?}", object.name))?;
        let changed = (0..text.len()).rev().find(|&i| text[i] != object.text[i]).map_or(0, |i| i + 1);
        ensure!(
            object.offset + written >= changed && written <= 8,
            "{}: says it wrote {written} bytes; {} became {}",
            object.name,
            hex(&object.text),
            hex(&text)
        );
        for len in 0..written {
            let mut short = object.text[object.offset..][..len].to_vec();
            let before = short.clone();
            let found = A::relocate(&relocation, &mut short);
            ensure_eq!(found, Err(RelocError::ShortCode), "{} on {len} bytes", object.name);
            ensure_eq!(short, before, "{} on {len} bytes: the bytes", object.name);
        }
    }
    Ok(())
}

fn unknown<A: Architecture>(d: &'static Description) -> Check {
    for r_type in [0x7fff, 0xffff, u32::MAX] {
        let relocation = Relocation { r_type, place: d.text[0], symbol: d.text[1], addend: 0 };
        let mut code = [0x5a; 16];
        let found = A::relocate(&relocation, &mut code);
        ensure_eq!(found, Err(RelocError::UnknownType(r_type)), "type {r_type:#x}");
        ensure_eq!(code, [0x5a; 16], "the bytes, type {r_type:#x}");
        ensure!(!A::is_branch(r_type), "type {r_type:#x} is a branch");
    }
    Ok(())
}

fn branches<A: Architecture>(d: &'static Description) -> Check {
    let tools = Toolchain::new(d.name)?;
    for sample in d.relocations {
        let object = assemble(&tools, d, sample, 0)?;
        ensure_eq!(A::is_branch(object.r_type), sample.is_branch, "{}", object.name);
    }
    ensure!(d.relocations.iter().any(|sample| sample.is_branch), "no relocation is a branch");
    Ok(())
}
