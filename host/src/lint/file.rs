// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A module's file, as the module loader sees it: sections, symbols, and pointers that relocations make.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile64;
use object::{
    Endianness, Object, ObjectKind, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget,
    SectionIndex, SymbolKind,
};

/// A module's file.
#[derive(Debug)]
pub struct File<'a> {
    elf: ElfFile64<'a, Endianness>,
    /// Where absolute doublewords are relocated: the target of each.
    pointers: HashMap<Place, Place>,
    /// The same, for targets that are not in the file.
    imported: HashMap<Place, String>,
}

/// A byte of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) section: SectionIndex,
    pub(super) offset: u64,
}

impl Place {
    pub(super) fn plus(self, bytes: usize) -> Place {
        Place { offset: self.offset.wrapping_add(bytes as u64), ..self }
    }
}

/// A function of the module.
#[derive(Clone, Copy, Debug)]
pub struct Function<'f> {
    /// Its symbol.
    pub name: &'f str,
    pub(super) place: Place,
    /// Its bytes, before relocation.
    pub code: &'f [u8],
}

impl<'a> File<'a> {
    /// Reads a module.
    ///
    /// # Errors
    ///
    /// It is no relocatable 64-bit ELF file.
    pub(super) fn parse(data: &'a [u8]) -> Result<File<'a>> {
        let elf = ElfFile64::<Endianness>::parse(data).context("not a 64-bit ELF file")?;
        ensure!(
            elf.kind() == ObjectKind::Relocatable && elf.section_by_name(".modinfo").is_some(),
            "an ELF file, but no kernel module: expected a relocatable file with a section .modinfo"
        );
        let mut file = File { elf, pointers: HashMap::new(), imported: HashMap::new() };
        for section in file.elf.sections() {
            for (offset, relocation) in section.relocations() {
                if relocation.kind() != RelocationKind::Absolute || relocation.size() != 64 {
                    continue;
                }
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let symbol = file.elf.symbol_by_index(symbol).context("a relocation names no symbol")?;
                let place = Place { section: section.index(), offset };
                match symbol.section_index() {
                    Some(section) => {
                        let offset = symbol.address().wrapping_add_signed(relocation.addend());
                        file.pointers.insert(place, Place { section, offset });
                    }
                    None => {
                        file.imported.insert(place, symbol.name().unwrap_or_default().to_owned());
                    }
                }
            }
        }
        Ok(file)
    }

    /// The ELF machine.
    pub(super) fn machine(&self) -> u16 {
        self.elf.elf_header().e_machine.get(self.elf.endian())
    }

    pub(super) fn is_little_endian(&self) -> bool {
        self.elf.is_little_endian()
    }

    /// The first value of a tag in `.modinfo`.
    pub fn modinfo(&self, tag: &str) -> Option<&'a str> {
        self.modinfos(tag).next()
    }

    /// All values of a tag in `.modinfo`.
    pub(super) fn modinfos(&self, tag: &str) -> impl Iterator<Item = &'a str> {
        let info = self.section(".modinfo").unwrap_or_default();
        info.split(|&byte| byte == 0).filter_map(move |entry| {
            let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
            (name == tag).then_some(value)
        })
    }

    /// The bytes of a section.
    pub(super) fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.elf.section_by_name(name)?.data().ok()
    }

    /// Where a section begins, if there is something in it.
    pub(super) fn start(&self, section: &str) -> Option<Place> {
        let section = self.elf.section_by_name(section).filter(|section| section.size() != 0)?;
        Some(Place { section: section.index(), offset: 0 })
    }

    /// Whether there is such a section, and something in it.
    pub fn has_section(&self, name: &str) -> bool {
        self.elf.section_by_name(name).is_some_and(|section| section.size() != 0)
    }

    /// The symbols that the file does not define.
    pub(super) fn undefined(&self) -> impl Iterator<Item = &'a str> {
        let imported = |symbol: &object::read::elf::ElfSymbol64<'a, '_, Endianness>| {
            symbol.is_undefined() && !symbol.is_weak()
        };
        self.elf
            .symbols()
            .filter(imported)
            .filter_map(|symbol| symbol.name().ok())
            .filter(|name| !name.is_empty())
    }

    /// The names of all defined symbols.
    pub(super) fn defined(&self) -> impl Iterator<Item = &'a str> {
        self.elf.symbols().filter(|symbol| !symbol.is_undefined()).filter_map(|symbol| symbol.name().ok())
    }

    /// The module's functions, in the order of its symbol table, which is that of kallsyms. Those that are freed when the
    /// module is initialised are not among them.
    pub(super) fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        self.elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).filter_map(|symbol| {
            let index = symbol.section_index()?;
            let section = self.elf.section_by_index(index).ok()?;
            if section.name().ok()?.starts_with(".init") {
                return None;
            }
            let start = usize::try_from(symbol.address()).ok()?;
            let end = start.checked_add(usize::try_from(symbol.size()).ok()?)?;
            let code = section.data().ok()?.get(start..end)?;
            let place = Place { section: index, offset: symbol.address() };
            Some(Function { name: symbol.name().ok()?, place, code })
        })
    }

    /// The function that begins at `place`.
    pub(super) fn function_at(&self, place: Place) -> Option<Function<'_>> {
        self.functions().find(|function| function.place == place)
    }

    /// Where the doubleword at `place` points to, once it is relocated.
    pub(super) fn pointer(&self, place: Place) -> Option<Place> {
        self.pointers.get(&place).copied()
    }

    /// The symbol of another file that the doubleword at `place` points to.
    pub(super) fn imported(&self, place: Place) -> Option<&str> {
        self.imported.get(&place).map(String::as_str)
    }

    /// All doublewords that are relocated, in the section of that name: what they point to.
    pub(super) fn pointers_in(&self, section: &str) -> Vec<Place> {
        let Some(section) = self.elf.section_by_name(section) else { return Vec::new() };
        let inside = |place: &&Place| place.section == section.index();
        self.pointers.keys().filter(inside).map(|place| self.pointers[place]).collect()
    }

    /// Data symbols of that size: where each begins.
    pub(super) fn data_of_size(&self, size: usize) -> impl Iterator<Item = Place> {
        self.elf
            .symbols()
            .filter(move |symbol| symbol.kind() == SymbolKind::Data && symbol.size() == size as u64)
            .filter_map(|symbol| Some(Place { section: symbol.section_index()?, offset: symbol.address() }))
    }

    /// Whether `place` is where the symbol `name` of this file is.
    pub(super) fn is_symbol(&self, place: Place, name: &str) -> bool {
        self.elf.symbols().any(|symbol| {
            symbol.name() == Ok(name)
                && symbol.section_index() == Some(place.section)
                && symbol.address() == place.offset
        })
    }

    /// The string at `place`.
    pub(super) fn string(&self, place: Place) -> Option<&'a str> {
        let section = self.elf.section_by_index(place.section).ok()?;
        let bytes = section.data().ok()?.get(usize::try_from(place.offset).ok()?..)?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&bytes[..end]).ok()
    }

    /// `N` bytes at `place`; zeros where the section has none in the file.
    pub(super) fn bytes<const N: usize>(&self, place: Place) -> [u8; N] {
        let read = || {
            let section = self.elf.section_by_index(place.section).ok()?;
            let start = usize::try_from(place.offset).ok()?;
            section.data().ok()?.get(start..)?.first_chunk::<N>().copied()
        };
        read().unwrap_or([0; N])
    }

    /// The bytes at `place`, `len` at most.
    pub(super) fn bytes_at(&self, place: Place, len: usize) -> &'a [u8] {
        let read = || {
            let section = self.elf.section_by_index(place.section).ok()?;
            let bytes = section.data().ok()?.get(usize::try_from(place.offset).ok()?..)?;
            Some(&bytes[..len.min(bytes.len())])
        };
        read().unwrap_or_default()
    }

    pub(super) fn u32(&self, place: Place) -> u32 {
        let bytes = self.bytes(place);
        if self.is_little_endian() { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    pub(super) fn u64(&self, place: Place) -> u64 {
        let bytes = self.bytes(place);
        if self.is_little_endian() { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) }
    }
}
