// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a patch refers to that is not exported: whether each symbol can be found, and each relocation applied.

use core::mem::{offset_of, size_of};

use anyhow::{Context, Result};
use klp_core::patch_relocs::MAX_PLACE;
use klp_core::reloc::{Refused, RelocError, Relocation};
use klp_patch::abi::{KlpReloc, KlpRelocSymbol, KlpRelocations};

use super::file::{File, Place};
use super::objects::{error, which_one};
use super::patch::Declared;
use super::{Finding, Severity};
use crate::kernel::symbols::Symbols;
use crate::modtree::Module;
use crate::{Arch, Facts};

/// A symbol that the patch refers to.
struct Symbol<'a> {
    /// `None`: vmlinux.
    object: Option<&'a str>,
    name: &'a str,
    position: u64,
    /// A function, and from there to the symbol; another function, and from the first to that.
    anchor: Option<[(&'a str, u64); 2]>,
}

struct Reference {
    place: Place,
    r_type: u32,
    symbol: usize,
    addend: i64,
    room: usize,
}

/// What `klp build` has recorded in a module.
struct Recorded<'a> {
    symbols: Vec<Symbol<'a>>,
    references: Vec<Reference>,
    slots: usize,
}

/// Far enough from a module's first section for its slots.
const SLOTS_AFTER: u64 = 1 << 20;

/// Checks what is recorded. `object` finds the file of a module; `lists_data` says whether the kernel's symbol table has variables.
pub(super) fn check(
    file: &File<'_>,
    patches: &[Declared],
    symbols: &Symbols,
    lists_data: bool,
    object: &dyn Fn(&str) -> Result<Option<Module>>,
) -> Result<Vec<Finding>> {
    let (Some(recorded), Some(Arch { facts, .. })) = (recorded(file), Arch::by_machine(file.machine()))
    else {
        return Ok(Vec::new());
    };
    let mut findings = Vec::new();
    let mut addrs = Vec::new();
    for symbol in &recorded.symbols {
        let (addr, found) = match symbol.object {
            None => in_vmlinux(symbol, symbols, lists_data),
            Some(name) => {
                let is_declared = patches.iter().flat_map(|patch| &patch.objects);
                if !is_declared.into_iter().any(|target| target.module.as_deref() == Some(name)) {
                    let message = "the patch refers to a symbol of it and does not change it";
                    let help = "add a klp_object for it, with or without functions";
                    findings.push(error("object-not-declared", message, help).about(name, symbol.name));
                }
                // A module that is none of the kernel's own is asked for where its functions are looked at.
                let module = object(name)?;
                (None, module.map_or(Ok(None), |module| in_module(symbol, &module))?)
            }
        };
        findings.extend(found.map(|finding| finding.about(symbol.object.unwrap_or("vmlinux"), symbol.name)));
        addrs.push(addr);
    }
    findings.extend(slots(&recorded, facts));
    if let Some(modules) = symbols.modules() {
        findings.extend(out_of_reach(file, &recorded, facts, &addrs, modules));
    }
    Ok(findings)
}

fn recorded<'a>(file: &File<'a>) -> Option<Recorded<'a>> {
    let descriptor = file.start(".klp.relocations")?;
    let count = |field| usize::try_from(file.u64(descriptor.plus(field))).unwrap_or(0);
    let table = |field| file.pointer(descriptor.plus(field));
    let symbols = table(offset_of!(KlpRelocations, symbols))?;
    let relocs = table(offset_of!(KlpRelocations, relocs))?;
    let string = |place: Place| file.pointer(place).and_then(|place| file.string(place));
    let symbol = |index: usize| {
        let at = symbols.plus(index * size_of::<KlpRelocSymbol>());
        let function = |name, distance| Some((string(at.plus(name))?, file.u64(at.plus(distance))));
        let anchor = function(offset_of!(KlpRelocSymbol, anchor), offset_of!(KlpRelocSymbol, offset));
        let witness = function(offset_of!(KlpRelocSymbol, witness), offset_of!(KlpRelocSymbol, distance));
        Some(Symbol {
            object: string(at.plus(offset_of!(KlpRelocSymbol, object))),
            name: string(at.plus(offset_of!(KlpRelocSymbol, name)))?,
            position: file.u64(at.plus(offset_of!(KlpRelocSymbol, position))),
            anchor: anchor.zip(witness).map(|(anchor, witness)| [anchor, witness]),
        })
    };
    let reference = |index: usize| {
        let at = relocs.plus(index * size_of::<KlpReloc>());
        let word = |field| file.u32(at.plus(field));
        Some(Reference {
            place: file.pointer(at.plus(offset_of!(KlpReloc, place)))?,
            r_type: word(offset_of!(KlpReloc, r_type)),
            symbol: word(offset_of!(KlpReloc, symbol)) as usize,
            addend: file.u64(at.plus(offset_of!(KlpReloc, addend))).cast_signed(),
            room: word(offset_of!(KlpReloc, room)) as usize,
        })
    };
    Some(Recorded {
        symbols: (0..count(offset_of!(KlpRelocations, symbol_count))).map_while(symbol).collect(),
        references: (0..count(offset_of!(KlpRelocations, reloc_count))).map_while(reference).collect(),
        slots: count(offset_of!(KlpRelocations, slot_count)),
    })
}

/// Where a symbol of vmlinux is, and what is wrong with it.
fn in_vmlinux(symbol: &Symbol<'_>, symbols: &Symbols, lists_data: bool) -> (Option<u64>, Option<Finding>) {
    let Symbol { name, position, anchor, .. } = *symbol;
    let found = symbols.named(name);
    if let ([], Some([(anchor, offset), (witness, distance)])) = (found, anchor) {
        return match (symbols.named(anchor), symbols.named(witness)) {
            (&[from], &[to]) if from.wrapping_add(distance) == to => (Some(from.wrapping_add(offset)), None),
            _ => {
                let message = format!(
                    "it was looked up in a vmlinux that is not this kernel's: '{anchor}' and '{witness}' are not as far \
                     apart here"
                );
                (
                    None,
                    Some(error("symbol-missing", &message, "name this kernel's with `klp build --vmlinux`")),
                )
            }
        };
    }
    let finding = match found.len() as u64 {
        0 if lists_data => {
            Some(missing("correct the name, or say with KLP_RELOC_SYMBOL which module has it"))
        }
        0 => Some(error(
            "symbol-missing",
            "the kernel lists functions only (no CONFIG_KALLSYMS_ALL), and none of that name",
            "if it is a variable, build with --vmlinux; else correct the name, or say with KLP_RELOC_SYMBOL which module has it",
        )),
        count => which_one(count, position, "the position in KLP_RELOC_SYMBOL"),
    };
    let index = usize::try_from(position.max(1) - 1).ok();
    (index.and_then(|index| found.get(index)).copied(), finding)
}

fn in_module(symbol: &Symbol<'_>, module: &Module) -> Result<Option<Finding>> {
    let file = File::parse(&module.data).with_context(|| module.file_name.clone())?;
    Ok(match file.defined().filter(|name| *name == symbol.name).count() as u64 {
        0 => Some(missing("correct the name in KLP_RELOC_SYMBOL")),
        count => which_one(count, symbol.position, "the position in KLP_RELOC_SYMBOL"),
    })
}

fn missing(help: &str) -> Finding {
    error("symbol-missing", "the patch refers to it, and the object has no symbol of that name", help)
}

/// Whether there is room for all the slots that may be needed.
fn slots(recorded: &Recorded<'_>, facts: &Facts) -> Option<Finding> {
    let list: Vec<_> =
        recorded.references.iter().map(|found| (found.r_type, found.symbol, found.addend)).collect();
    let (needed, planned) = ((facts.capacity)(&list), recorded.slots);
    let message = format!("{needed} slots may be needed, {planned} are planned");
    (needed > planned)
        .then(|| error("slots-short", &message, "build the patch with this version of `klp build`"))
}

/// Applies everything that is known to a copy, at the addresses of one boot.
fn out_of_reach(
    file: &File<'_>,
    recorded: &Recorded<'_>,
    facts: &Facts,
    addrs: &[Option<u64>],
    modules: u64,
) -> Vec<Finding> {
    let page = modules & !0xfff;
    let mut targets = vec![None; recorded.slots];
    let mut findings = Vec::new();
    for reference in &recorded.references {
        let Reference { place, r_type, symbol, addend, room } = *reference;
        let (Some(Some(addr)), Some(known)) = (addrs.get(symbol), recorded.symbols.get(symbol)) else {
            continue;
        };
        let mut code = file.bytes_at(place, room.min(MAX_PLACE)).to_vec();
        let relocation = Relocation { r_type, place: page + place.offset, symbol: *addr, addend };
        let Err(error) = (facts.apply)(&relocation, &mut code, page + SLOTS_AFTER, &mut targets) else {
            continue;
        };
        let refused = Refused { relocation, type_name: (facts.type_name)(r_type), name: known.name, error };
        let (check, help) = match error {
            // There is a finding of its own.
            RelocError::NoSlot { .. } => continue,
            RelocError::Overflow { .. } => (
                "out-of-reach",
                "no slot serves this type: refer to the symbol from C, compiled with the flags of `klp build`",
            ),
            _ => ("relocation", "compile the patch with the flags of `klp build`"),
        };
        let message = format!("{refused}; the addresses are those of one boot");
        findings.push(Finding::new(Severity::Error, check, message, help).about("vmlinux", known.name));
    }
    findings
}
