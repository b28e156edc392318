// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Turns a patch module's references to symbols that nobody exports into relocations of our own.
//!
//! The kernel's module loader refuses a module with an unknown symbol. So such symbols are taken out of the symbol table,
//! with the relocations against them, and put down in sections that are loaded with the module: where, what type, which
//! addend, which symbol. klp.ko finds them through what `klp_enable_patch()` passes along, a `struct klp_relocations` in the
//! section `.klp.relocations`. The addresses in it are relocations that the kernel's loader knows.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::vmlinux::Vmlinux;
use crate::{Arch, Facts};

use klp_patch::abi::{KLP_RELOCATIONS_FORMAT, KlpRelocations};
use object::build::Id;
use object::build::elf::{Builder, Relocation, SectionData, SectionId, SymbolId};
use object::elf::{
    SHF_ALLOC, SHF_EXECINSTR, SHF_INFO_LINK, SHN_UNDEF, SHT_PROGBITS, SHT_RELA, STB_LOCAL, STB_WEAK,
    STT_SECTION,
};
use object::{Endian, Endianness, Object, ObjectSymbol};

/// The section that `klp_enable_patch()` takes the address of a part of.
const DESCRIPTOR: &str = ".klp.relocations";
/// The section that `KLP_RELOC_SYMBOL` writes to: four strings each.
const DECLARED: &str = ".note.klp.declared";

/// Why a module cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it cannot be read: {0}")]
    Object(#[from] object::read::Error),
    #[error("it cannot be read: {0}")]
    Builder(#[from] object::build::Error),
    #[error("it is for a machine that the SDK does not know (ELF machine {0})")]
    Machine(u16),
    #[error(
        "{} not exported by the kernel: only a patch, a module that calls klp_enable_patch(), can refer to such symbols",
        list(.0)
    )]
    NoPatch(Vec<String>),
    #[error(
        "section {section} refers to '{symbol}', which is not exported: the kernel uses that section before the patch is \
         enabled; move the code or the variable elsewhere"
    )]
    Section { section: String, symbol: String },
    #[error(
        "relocation of type {r_type} at {section}+{offset:#x} against symbol '{symbol}': modules of this architecture have no \
         such relocations"
    )]
    Type { section: String, offset: u64, symbol: String, r_type: u32 },
    #[error("KLP_RELOC_SYMBOL for '{identifier}': {what}")]
    Declaration { identifier: String, what: &'static str },
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("{} {}", quoted.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// What the patch says a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Declared {
    /// `None` is vmlinux.
    object: Option<String>,
    name: String,
    position: u64,
}

/// What a name stands for: the only one of vmlinux, unless the patch says otherwise.
fn stands_for(declared: &HashMap<String, Declared>, name: &str) -> Declared {
    let plain = || Declared { object: None, name: name.to_owned(), position: 0 };
    declared.get(name).cloned().unwrap_or_else(plain)
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.object.as_deref().unwrap_or("vmlinux"), self.name)?;
        if self.position > 0 { write!(f, ",{}", self.position) } else { Ok(()) }
    }
}

/// A module that was converted.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) module: Vec<u8>,
    /// What it refers to: names, and the objects that the patch declares.
    pub(super) symbols: Vec<String>,
    /// What may be variables of vmlinux: their addresses are used, and no vmlinux says where they are.
    pub(super) unlisted: Vec<String>,
}

/// Converts a module; `None` if there is nothing to convert. `exported` are the symbols that the kernel and other modules
/// export; variables that the kernel's symbol table may not list are looked up in `vmlinux`.
///
/// # Errors
///
/// It refers to symbols that are not exported where that cannot be, or is not what it should be.
pub(super) fn convert(
    module: &[u8],
    exported: &HashSet<String>,
    vmlinux: Option<&Vmlinux>,
) -> Result<Option<Converted>, Error> {
    if !has_any(module, exported)? {
        return Ok(None);
    }
    let mut builder = Builder::read(module)?;
    let machine = builder.header.e_machine;
    let facts = &Arch::by_machine(machine).ok_or(Error::Machine(machine))?.facts;
    let declared = declarations(&mut builder)?;
    let symbols = not_exported(&builder, exported, &declared);
    if symbols.is_empty() {
        return Ok(None);
    }
    let descriptors: Vec<SectionId> = builder
        .sections
        .iter()
        .filter(|section| section.name.as_slice() == DESCRIPTOR.as_bytes())
        .map(|section| section.id())
        .collect();
    if descriptors.is_empty() {
        return Err(Error::NoPatch(symbols.into_iter().map(|(_, name)| name).collect()));
    }
    let found = References::in_module(&builder, facts, &symbols)?;
    for (id, _) in &symbols {
        builder.symbols.get_mut(*id).delete = true;
    }
    for relocations in &mut builder.sections {
        let Some(place) = relocations.sh_info_section else { continue };
        if let SectionData::Relocation(list) = &mut relocations.data {
            list.retain(|it| !found.low_halves.contains(&(place.index(), it.r_offset)));
        }
    }
    let tables = Tables::of(&builder, &symbols, &declared, vmlinux, &found);
    tables.write(&mut builder, facts, &descriptors);
    let mut module = Vec::new();
    builder.write(&mut module)?;
    let stands_for = |name: &str| stands_for(&declared, name);
    let unlisted = found.not_only_called(&symbols).filter(|name| {
        let symbol = stands_for(name);
        symbol.object.is_none() && vmlinux.is_none_or(|vmlinux| !vmlinux.has(&symbol.name))
    });
    let unlisted = unlisted.map(str::to_owned).collect();
    let symbols = symbols.iter().map(|(_, name)| stands_for(name).to_string()).collect();
    Ok(Some(Converted { module, symbols, unlisted }))
}

/// Whether a module may have something to convert: a look at what the [`Builder`], which does not know all that an object may
/// have, need not read.
fn has_any(module: &[u8], exported: &HashSet<String>) -> Result<bool, Error> {
    let file = object::File::parse(module)?;
    let mut symbols = file.symbols().filter(|symbol| symbol.is_undefined() && !symbol.is_weak());
    let unknown =
        symbols.any(|symbol| symbol.name().is_ok_and(|name| !is_loaders(name) && !exported.contains(name)));
    Ok(unknown || file.section_by_name(DECLARED).is_some())
}

/// What is undefined in every module: nothing, and the loader's own name for the module's TOC (ppc64).
fn is_loaders(name: &str) -> bool {
    matches!(name, "" | ".TOC.")
}

/// Takes what the patch declares out of the module.
fn declarations(builder: &mut Builder<'_>) -> Result<HashMap<String, Declared>, Error> {
    let mut found = HashMap::new();
    for section in
        builder.sections.iter_mut().filter(|section| section.name.as_slice() == DECLARED.as_bytes())
    {
        section.delete = true;
        let (SectionData::Note(data) | SectionData::Data(data)) = &section.data else { continue };
        let strings: Vec<_> =
            data.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        for declaration in strings.chunks_exact(4) {
            let [identifier, object, name, position] = declaration else { continue };
            let error = |what| Error::Declaration { identifier: identifier.clone(), what };
            let position = position.parse().map_err(|_| error("the position is no number"))?;
            let object = (object != "vmlinux").then(|| object.clone());
            let declared = Declared { object, name: name.clone(), position };
            match found.insert(identifier.clone(), declared.clone()) {
                Some(other) if other != declared => {
                    return Err(error("it is declared twice, and differently"));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Symbols that are not defined in the module and that the kernel's loader is not to resolve.
fn not_exported(
    builder: &Builder<'_>,
    exported: &HashSet<String>,
    declared: &HashMap<String, Declared>,
) -> Vec<(SymbolId, String)> {
    let undefined = builder.symbols.iter().filter(|symbol| {
        symbol.section.is_none() && symbol.st_shndx == SHN_UNDEF && symbol.st_bind() != STB_WEAK
    });
    undefined
        .map(|symbol| (symbol.id(), symbol.name.to_string()))
        .filter(|(_, name)| !is_loaders(name))
        .filter(|(_, name)| declared.contains_key(name) || !exported.contains(name))
        .collect()
}

/// A relocation against a symbol that is not exported.
struct Reference {
    section: SectionId,
    offset: u64,
    r_type: u32,
    addend: i64,
    /// Which of the symbols.
    symbol: usize,
    /// From the place to the end of its section.
    room: u64,
}

struct References {
    all: Vec<Reference>,
    /// Section and offset of those that have low halves. Their symbols are labels of the module, which stay.
    low_halves: HashSet<(usize, u64)>,
    slots: usize,
    is_branch: fn(u32) -> bool,
}

impl References {
    fn in_module(
        builder: &Builder<'_>,
        facts: &Facts,
        symbols: &[(SymbolId, String)],
    ) -> Result<References, Error> {
        let index: HashMap<usize, usize> =
            symbols.iter().enumerate().map(|(index, (id, _))| (id.index(), index)).collect();
        let (mut all, mut low_halves) = (Vec::new(), HashSet::new());
        for relocations in &builder.sections {
            let SectionData::Relocation(list) = &relocations.data else { continue };
            let Some(place) = relocations.sh_info_section else { continue };
            let section = builder.sections.get(place);
            // Nobody reads the others of a module that is loaded: debug information.
            if !section.is_alloc() {
                continue;
            }
            for relocation in list {
                let Some(&symbol) = relocation.symbol.and_then(|id| index.get(&id.index())) else { continue };
                let &Relocation { r_offset: offset, r_type, r_addend: addend, .. } = relocation;
                let (section_name, symbol_name) = (section.name.to_string(), symbols[symbol].1.clone());
                if !may_refer(&section_name) {
                    return Err(Error::Section { section: section_name, symbol: symbol_name });
                }
                if (facts.type_name)(r_type).is_none() {
                    return Err(Error::Type { section: section_name, offset, symbol: symbol_name, r_type });
                }
                let room = section.sh_size.saturating_sub(offset);
                all.push(Reference { section: place, offset, r_type, addend, symbol, room });
            }
            let halves = References::low_halves(builder, facts, place, list, &all);
            low_halves.extend(halves.iter().map(|half| (half.section.index(), half.offset)));
            all.extend(halves);
        }
        let list: Vec<_> = all.iter().map(|found| (found.r_type, found.symbol, found.addend)).collect();
        let slots = (facts.capacity)(&list);
        Ok(References { all, low_halves, slots, is_branch: facts.is_branch })
    }

    /// The relocations of a section that have the low half of what one of `found` has the high half of: each as one against the
    /// other's symbol ([`Relocate::low_half`](klp_core::Relocate::low_half)).
    fn low_halves(
        builder: &Builder<'_>,
        facts: &Facts,
        place: SectionId,
        list: &[Relocation],
        found: &[Reference],
    ) -> Vec<Reference> {
        let of_section = found.iter().filter(|high| high.section == place);
        let highs: HashMap<u64, &Reference> = of_section.map(|high| (high.offset, high)).collect();
        let section = builder.sections.get(place);
        let mut halves = Vec::new();
        for &Relocation { r_offset: offset, r_type, symbol, .. } in list {
            let Some(label) = symbol.map(|id| builder.symbols.get(id)) else { continue };
            let Some(high) = highs.get(&label.st_value).filter(|_| label.section == Some(place)) else {
                continue;
            };
            let Some(r_type) = (facts.low_half)(r_type, high.r_type) else { continue };
            let addend = high.addend + offset.wrapping_sub(high.offset).cast_signed();
            let room = section.sh_size.saturating_sub(offset);
            halves.push(Reference { section: place, offset, r_type, addend, symbol: high.symbol, room });
        }
        halves
    }

    /// The symbols whose address is used for something else than a call, and that are never called.
    fn not_only_called<'a>(&self, symbols: &'a [(SymbolId, String)]) -> impl Iterator<Item = &'a str> {
        symbols.iter().enumerate().filter_map(|(index, (_, name))| {
            let mut types = self.all.iter().filter(|found| found.symbol == index).map(|found| found.r_type);
            (!types.any(self.is_branch)).then_some(name.as_str())
        })
    }
}

/// Whether what lies in a section is only used once the patch is enabled. The kernel reads the tables of a module while it
/// loads it (`module_finalize`, the module notifiers), and runs its init code.
fn may_refer(section: &str) -> bool {
    // The last two are what gcc for riscv makes of small variables.
    const PARTS: [&str; 8] =
        [".text", ".ref.text", ".noinstr.text", ".rodata", ".data", ".toc", ".sdata", ".srodata"];
    let is_part =
        |part: &str| section.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    PARTS.iter().any(|part| is_part(part)) && section != ".data..percpu"
}

/// A section in the making: bytes, and the addresses in them, each of which is in a section.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    addresses: Vec<(u64, SectionOf, u64)>,
}

/// One of the module's sections, or one that is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SectionOf {
    Module(SectionId),
    Relocs,
    Symbols,
    Strings,
    Slots,
}

impl Table {
    fn number(&mut self, bytes: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(bytes.as_ref());
    }

    fn address(&mut self, section: SectionOf, offset: u64) {
        self.addresses.push((self.bytes.len() as u64, section, offset));
        self.number([0; 8]);
    }
}

/// The sections that are added, as `struct klp_reloc` and `struct klp_reloc_symbol` of `include/linux/livepatch.h` say.
struct Tables {
    relocs: Table,
    symbols: Table,
    strings: Vec<u8>,
    counts: [u64; 3],
}

impl Tables {
    fn of(
        builder: &Builder<'_>,
        symbols: &[(SymbolId, String)],
        declared: &HashMap<String, Declared>,
        vmlinux: Option<&Vmlinux>,
        found: &References,
    ) -> Tables {
        let endian = builder.endian;
        let mut strings = Vec::new();
        let mut string = |text: &str| {
            let at = strings.len() as u64;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let mut table = Table::default();
        for (_, identifier) in symbols {
            let symbol = stands_for(declared, identifier);
            match &symbol.object {
                Some(object) => table.address(SectionOf::Strings, string(object)),
                None => table.number([0; 8]),
            }
            table.address(SectionOf::Strings, string(&symbol.name));
            table.number(u64_bytes(endian, symbol.position));
            let known = vmlinux.filter(|_| symbol.object.is_none());
            match known.and_then(|vmlinux| Some((vmlinux, vmlinux.variable(&symbol.name, symbol.position)?)))
            {
                Some((Vmlinux { anchor, witness, .. }, addr)) => {
                    for (function, to) in [(anchor, addr), (witness, witness.addr)] {
                        table.address(SectionOf::Strings, string(&function.name));
                        table.number(u64_bytes(endian, to.wrapping_sub(anchor.addr)));
                    }
                }
                None => table.number([0; 32]),
            }
        }
        let mut relocs = Table::default();
        for reference in &found.all {
            relocs.address(SectionOf::Module(reference.section), reference.offset);
            relocs.number(u64_bytes(endian, reference.addend.cast_unsigned()));
            let room = u32::try_from(reference.room).unwrap_or(u32::MAX);
            let symbol = u32::try_from(reference.symbol).unwrap_or(u32::MAX);
            for word in [reference.r_type, symbol, room, 0] {
                relocs.number(u32_bytes(endian, word));
            }
        }
        let counts = [found.all.len(), symbols.len(), found.slots].map(|count| count as u64);
        Tables { relocs, symbols: table, strings, counts }
    }

    /// Adds the sections, and fills the descriptors in.
    fn write(self, builder: &mut Builder<'_>, facts: &Facts, descriptors: &[SectionId]) {
        let Tables { relocs, symbols, strings, counts } = self;
        let mut sections = Sections { made: Vec::new(), symbols: HashMap::new(), absolute: facts.absolute };
        let slots = vec![0; facts.slot_len * usize::try_from(counts[2]).unwrap_or(0)];
        let read_only = u64::from(SHF_ALLOC);
        let made = [
            (SectionOf::Slots, ".klp.slots", slots, u64::from(SHF_ALLOC | SHF_EXECINSTR)),
            (SectionOf::Strings, ".klp.strings", strings, read_only),
            (SectionOf::Symbols, ".klp.symbols", symbols.bytes, read_only),
            (SectionOf::Relocs, ".klp.relocs", relocs.bytes, read_only),
        ];
        for (section, name, bytes, flags) in made {
            let id = add_section(builder, name, bytes, flags);
            sections.made.push((section, id));
        }
        sections.relocate(builder, SectionOf::Symbols, &symbols.addresses);
        sections.relocate(builder, SectionOf::Relocs, &relocs.addresses);
        let endian = builder.endian;
        for &id in descriptors {
            let SectionData::Data(data) = &mut builder.sections.get_mut(id).data else { continue };
            let mut table = Table::default();
            for _ in 0..data.len() / size_of::<KlpRelocations>() {
                table.number(u64_bytes(endian, KLP_RELOCATIONS_FORMAT));
                let parts = [SectionOf::Relocs, SectionOf::Symbols, SectionOf::Slots];
                for (section, count) in parts.into_iter().zip(counts) {
                    table.address(section, 0);
                    table.number(u64_bytes(endian, count));
                }
            }
            *data = table.bytes.into();
            sections.relocate(builder, SectionOf::Module(id), &table.addresses);
        }
    }
}

fn u64_bytes(endian: Endianness, value: u64) -> [u8; 8] {
    if endian.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() }
}

fn u32_bytes(endian: Endianness, value: u32) -> [u8; 4] {
    if endian.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() }
}

fn add_section(builder: &mut Builder<'_>, name: &'static str, bytes: Vec<u8>, flags: u64) -> SectionId {
    let section = builder.sections.add();
    section.name = name.into();
    section.sh_type = SHT_PROGBITS;
    section.sh_flags = flags;
    section.sh_addralign = 8;
    section.data = SectionData::Data(bytes.into());
    section.id()
}

/// The sections that addresses are in, and the symbols that stand for them.
struct Sections {
    made: Vec<(SectionOf, SectionId)>,
    symbols: HashMap<usize, SymbolId>,
    absolute: u32,
}

impl Sections {
    fn id(&self, section: SectionOf) -> Option<SectionId> {
        match section {
            SectionOf::Module(id) => Some(id),
            made => self.made.iter().find(|(known, _)| *known == made).map(|(_, id)| *id),
        }
    }

    /// The symbol of a section, which is made if there is none.
    fn symbol(&mut self, builder: &mut Builder<'_>, section: SectionId) -> SymbolId {
        *self.symbols.entry(section.index()).or_insert_with(|| {
            let known = builder
                .symbols
                .iter()
                .find(|symbol| symbol.st_type() == STT_SECTION && symbol.section == Some(section));
            if let Some(symbol) = known {
                return symbol.id();
            }
            let symbol = builder.symbols.add();
            symbol.set_st_info(STB_LOCAL, STT_SECTION);
            symbol.section = Some(section);
            symbol.id()
        })
    }

    /// Has the kernel's loader write these addresses to a section.
    fn relocate(
        &mut self,
        builder: &mut Builder<'_>,
        section: SectionOf,
        addresses: &[(u64, SectionOf, u64)],
    ) {
        let Some(place) = self.id(section) else { return };
        let mut list = Vec::new();
        for &(r_offset, of, offset) in addresses {
            let Some(of) = self.id(of) else { continue };
            let symbol = Some(self.symbol(builder, of));
            list.push(Relocation { r_offset, symbol, r_type: self.absolute, r_addend: offset.cast_signed() });
        }
        let symtab = builder.sections.iter().find(|section| matches!(section.data, SectionData::Symbol));
        let symtab = symtab.map(|section| section.id());
        let name = format!(".rela{}", builder.sections.get(place).name);
        let rela = builder.sections.add();
        rela.name = name.into_bytes().into();
        rela.sh_type = SHT_RELA;
        rela.sh_flags = u64::from(SHF_INFO_LINK);
        rela.sh_link_section = symtab;
        rela.sh_info_section = Some(place);
        rela.sh_addralign = 8;
        rela.sh_entsize = 24;
        rela.data = SectionData::Relocation(list);
    }
}

#[cfg(test)]
mod tests;
