// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H7: relocations, against what the GNU linker makes of the same object at the same addresses.

mod object;
mod slot;
mod table;

use std::fs;
use std::path::Path;

use ::object::{Object, ObjectSection, ObjectSymbol, RelocationFlags};
use klp_core::reloc::{RelocError, Relocation};
use klp_core::{Addr, Architecture};

use super::{ensure, ensure_eq};
use crate::host::description::{Limits, RelocSample, Value};
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
        Case::new("H7.6", "relocation.limits_are_exact", manual, exact::<A>),
        Case::new("H7.7", "relocation.branches_go_where_the_disassembler_says", manual, slot::reach::<A>),
        Case::new(
            "H7.8",
            "relocation.branches_out_of_reach_go_through_a_slot",
            d.manuals.slots,
            slot::through::<A>,
        ),
        Case::new("H7.9", "relocation.gcc_emits_no_other_type", KBUILD, object::known::<A>),
        Case::new("H7.10", "relocation.objects_are_as_linked", manual, object::as_linked::<A>),
        Case::new(
            "H7.11",
            "relocation.table_is_as_documented",
            "docs/src/relocations.md",
            table::documented::<A>,
        ),
        Case::new("H7.12", "relocation.doublewords_with_addresses_have_that_type", manual, absolute::<A>),
    ]
}

const KBUILD: &str = "KBUILD_CFLAGS and KBUILD_CFLAGS_MODULE of arch/*/Makefile";

/// An object with one relocation of a type, and one of the type that has the high half if this one has the low.
struct Object1<'a> {
    sample: &'a RelocSample,
    name: String,
    r_type: u32,
    addend: i64,
    /// From the start of the text to the place.
    offset: usize,
    /// The type that has the high half, and from the start of the text to its place.
    high: Option<(u32, usize)>,
    text: Vec<u8>,
}

impl Object1<'_> {
    /// The place that distances are counted from, the text being at `base`.
    fn origin(&self, base: Addr) -> Addr {
        base + self.high.map_or(self.offset, |(_, offset)| offset) as u64
    }

    /// The relocation as the crate is given it, the text being at `base`.
    fn relocation<A: Architecture>(&self, base: Addr, symbol: u64) -> Relocation {
        let place = base + self.offset as u64;
        let behind_high = place.wrapping_sub(self.origin(base)).cast_signed();
        let half = self.high.and_then(|(high, _)| A::low_half(self.r_type, high));
        let (r_type, addend) = (half.unwrap_or(self.r_type), self.addend + behind_high);
        Relocation { r_type, place, symbol, addend }
    }

    /// Applies the relocation that has the high half, if there is one.
    fn apply_high<A: Architecture>(
        &self,
        base: Addr,
        symbol: u64,
        text: &mut [u8],
    ) -> Result<(), RelocError> {
        let Some((r_type, offset)) = self.high else { return Ok(()) };
        let relocation = Relocation { r_type, place: base + offset as u64, symbol, addend: self.addend };
        A::relocate(&relocation, &mut text[offset..]).map(|_| ())
    }
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
    let directives = match sample.high_half {
        Some(high) => {
            format!(".reloc high, {prefix}{high}, sym + {addend}\n.reloc place, {name}, high\n")
        }
        None => format!(".reloc place, {name}, sym + {addend}\n"),
    };
    let source = format!("{toc}.text\n.globl _start\n_start:\n{}\n{directives}", sample.code);
    let path = tools.assemble(sample.name, &source)?;
    let bytes = read(&path)?;
    let file = ::object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let section = file.section_by_name(".text").ok_or("the object has no text")?;
    let text = section.data().map_err(|error| error.to_string())?.to_vec();
    let mut found = Vec::new();
    for (offset, relocation) in section.relocations() {
        let RelocationFlags::Elf { r_type } = relocation.flags() else {
            return Err("not an ELF object".to_owned());
        };
        found.push((r_type, usize::try_from(offset).expect("small"), relocation.addend()));
    }
    let ((r_type, offset, addend), high) = match (&found[..], sample.high_half) {
        (&[only], None) => (only, None),
        // Its own addend is the label's.
        (&[(high, at, addend), (low, offset, 0)], Some(_)) => ((low, offset, addend), Some((high, at))),
        _ => return Err(format!("{name}: expected other relocations than {found:x?} in\n{source}")),
    };
    Ok(Object1 { sample, name, r_type, addend, offset, high, text })
}

/// What stands for the symbol whose address a literal holds.
const IN_LITERAL: u64 = 0x5a5a_1230;

/// Links the object so that its place is at `place` and the symbol has the value; or, if the place refers to a doubleword
/// that holds the symbol's address, so that this is at `symbol`.
fn link(
    tools: &Toolchain,
    d: &Description,
    object: &Object1<'_>,
    base: Addr,
    symbol: u64,
) -> Result<Linked, String> {
    let is_literal = object.sample.is_literal;
    let file = format!("{}.o", object.sample.name);
    let (text, got) =
        (format!("--section-start=.text={base:#x}"), format!("--section-start=.got={:#x}", toc(base)));
    let symbol_is = format!("--defsym=sym={:#x}", if is_literal { IN_LITERAL } else { symbol });
    let mut args = vec!["--entry=0", &symbol_is, &file];
    if is_literal {
        // The linker's own script does not let the table lie before the text.
        let got = symbol.wrapping_sub(d.got_entry);
        let got = format!(".got {got:#x} : {{ *(.got.plt) *(.got) }}");
        tools.write("script", &format!("SECTIONS {{ .text {base:#x} : {{ *(.text) }} {got} }}"))?;
        args.extend(["-T", "script", "-z", "norelro"]);
    } else {
        args.push(&text);
    }
    if object.sample.value.needs_toc() {
        args.push(&got);
    }
    args.extend(d.linker);
    let path = match tools.link(object.sample.name, &args) {
        Ok(path) => path,
        Err(ToolError::Missing(message)) => return Err(message),
        Err(ToolError::Refused(message)) => return Ok(Linked::No(message)),
    };
    let bytes = read(&path)?;
    let file = ::object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let section = file.section_by_name(".text").ok_or("no text was linked")?;
    ensure_eq!(section.address(), base, "{}: address of the linked text", object.name);
    let text = section.data().map_err(|error| error.to_string())?.to_vec();
    if is_literal {
        let got = file.section_by_name(".got").ok_or("no global offset table")?;
        let entry = usize::try_from(d.got_entry).expect("small");
        let entry = got.data().ok().and_then(|data| data.get(entry..)?.first_chunk().copied());
        let expected =
            if file.is_little_endian() { IN_LITERAL.to_le_bytes() } else { IN_LITERAL.to_be_bytes() };
        ensure_eq!(entry, Some(expected), "{}: the doubleword with the symbol's address", object.name);
    }
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
fn symbol(object: &Object1<'_>, base: Addr, value: i64) -> u64 {
    let place = object.origin(base);
    let origin = match object.sample.value {
        // Not at address 0.
        Value::Absolute if object.sample.is_literal => toc(base),
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

/// The address nearest to this one that a literal may have, on the side where the value is smaller.
fn literal(symbol: u64, value: i64) -> u64 {
    if value < 0 { symbol.next_multiple_of(8) } else { symbol & !7 }
}

/// Applies relocations of every type, with the values that `choose` makes of the sample, and hands the result to `judge`:
/// what was asked, what the linker made of it, what the crate made of it.
fn for_each<A: Architecture>(
    d: &'static Description,
    choose: fn(&RelocSample) -> Vec<i64>,
    mut judge: impl FnMut(&str, &Linked, &Result<Vec<u8>, RelocError>) -> Check,
) -> Check {
    let tools = Toolchain::new(d)?;
    let base = d.text[0] & !0xffff;
    let (mut complaints, mut judged) = (Vec::new(), 0);
    for sample in d.relocations {
        // A TOC pointer has no addend (ELFv2: ".TOC."), though the linker adds one.
        // Nor has what is said of a doubleword that the linker makes (AAELF64: GDAT(S + A)).
        let none = sample.value == Value::TocPointer || sample.is_literal || !sample.has_addend;
        let addends: &[i64] = if none { &[0] } else { &[0, 0x28] };
        for &addend in addends {
            let object = assemble(&tools, d, sample, addend)?;
            let place = base + object.offset as u64;
            let mut values = choose(sample);
            values.truncate(if addend == 0 { values.len() } else { 1 });
            for value in values {
                let mut symbol = symbol(&object, base, value);
                if sample.is_literal {
                    // At the place itself, there is the code.
                    if symbol.abs_diff(place) < 0x40 {
                        continue;
                    }
                    symbol = literal(symbol, value);
                }
                let linked = link(&tools, d, &object, base, symbol)?;
                let symbol = given(sample.value, symbol, base);
                let relocation = object.relocation::<A>(base, symbol);
                let mut text = object.text.clone();
                let applied = A::relocate(&relocation, &mut text[object.offset..]);
                if applied.is_err() && text != object.text {
                    complaints.push(format!("{}: refused, but the code was changed", object.name));
                }
                let applied = applied.and_then(|_| object.apply_high::<A>(base, symbol, &mut text));
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
    let tools = Toolchain::new(d)?;
    for sample in d.relocations {
        let object = assemble(&tools, d, sample, 0)?;
        for value in sample.limits.outside() {
            judge_alone::<A>(d, &object, value, false)?;
        }
    }
    Ok(())
}

/// How many values around a limit are tried.
const WINDOW: i64 = 256;

/// Every value around the limits, and multiples of what a value must be a multiple of and others between them.
fn exact<A: Architecture>(d: &'static Description) -> Check {
    let tools = Toolchain::new(d)?;
    for sample in d.relocations {
        let object = assemble(&tools, d, sample, 0)?;
        let around = |middle: i64| (-WINDOW..=WINDOW).map(move |i| middle.wrapping_add(i));
        match sample.limits {
            Limits::None => around(0)
                .chain(around(1 << 31))
                .chain(around(i64::MAX))
                .try_for_each(|value| judge_alone::<A>(d, &object, value, true))?,
            Limits::Step(step) => around(0)
                .chain(around(1 << 12))
                .try_for_each(|value| judge_alone::<A>(d, &object, value, value % step == 0))?,
            Limits::Range { min, max, step } => {
                around(min).chain(around(max)).chain(around(0)).try_for_each(|value| {
                    let fits = (min..=max).contains(&value) && (value - min) % step == 0;
                    judge_alone::<A>(d, &object, value, fits)
                })?
            }
        }
    }
    Ok(())
}

/// Applies a relocation with this value: it must be refused, and nothing changed, if it does not fit, and else applied.
fn judge_alone<A: Architecture>(d: &Description, object: &Object1<'_>, value: i64, fits: bool) -> Check {
    let base = d.text[0] & !0xffff;
    let symbol = given(object.sample.value, symbol(object, base, value), base);
    let relocation = object.relocation::<A>(base, symbol);
    let mut text = object.text.clone();
    let found = A::relocate(&relocation, &mut text[object.offset..]);
    let what = format!("{} with the value {value:#x}", object.name);
    if fits {
        ensure!(found.is_ok(), "{what} fits: {found:x?}");
    } else {
        let refused = matches!(found, Err(RelocError::Overflow { .. } | RelocError::Misaligned(_)));
        ensure!(refused, "{what} does not fit: {found:x?}, {}", hex(&text));
        ensure!(text == object.text, "{what}: refused, but the code was changed");
    }
    Ok(())
}

fn cut_short<A: Architecture>(d: &'static Description) -> Check {
    let tools = Toolchain::new(d)?;
    let base = d.text[0] & !0xffff;
    for sample in d.relocations {
        let object = assemble(&tools, d, sample, 0)?;
        let symbol = symbol(&object, base, sample.values[0]);
        let symbol = given(sample.value, symbol, base);
        let relocation = object.relocation::<A>(base, symbol);
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
    let tools = Toolchain::new(d)?;
    for sample in d.relocations {
        let object = assemble(&tools, d, sample, 0)?;
        ensure_eq!(A::is_branch(object.r_type), sample.is_branch, "{}", object.name);
    }
    ensure!(d.relocations.iter().any(|sample| sample.is_branch), "no relocation is a branch");
    Ok(())
}

/// The type that the assembler uses for a doubleword with an address; the descriptors of patches' relocations are such.
fn absolute<A: Architecture>(d: &'static Description) -> Check {
    let tools = Toolchain::new(d)?;
    let bytes = read(&tools.assemble("absolute", ".data\n.quad sym\n")?)?;
    let file = ::object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let data = file.section_by_name(".data").ok_or("the object has no data")?;
    let types: Vec<RelocationFlags> = data.relocations().map(|(_, relocation)| relocation.flags()).collect();
    ensure_eq!(types, [RelocationFlags::Elf { r_type: A::ABSOLUTE }], "Relocate::ABSOLUTE");
    Ok(())
}
