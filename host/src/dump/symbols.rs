// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Names of addresses: from the dump's own kallsyms, a vmlinux, a module's table.

use std::collections::HashMap;

use klp_core::Addr;
use object::{Object, ObjectSymbol, SymbolKind};

use super::layout::Layout;
use super::space::Space;
use super::vmcoreinfo::VmcoreInfo;

/// Symbols of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symbols {
    by_name: HashMap<String, Addr>,
    /// Of text, by address.
    text: Vec<(Addr, String)>,
}

/// A symbol as it is read.
pub(crate) struct Symbol {
    pub(crate) addr: Addr,
    pub(crate) name: String,
    pub(crate) is_text: bool,
}

impl FromIterator<Symbol> for Symbols {
    fn from_iter<I: IntoIterator<Item = Symbol>>(symbols: I) -> Symbols {
        let mut all = Symbols::default();
        for Symbol { addr, name, is_text } in symbols {
            if is_text {
                all.text.push((addr, name.clone()));
            }
            // Of several with one name (static functions) the first counts, as for kallsyms_lookup_name().
            all.by_name.entry(name).or_insert(addr);
        }
        // Stable: of several names for one address the first counts.
        all.text.sort_by_key(|(addr, _)| *addr);
        all
    }
}

impl Symbols {
    /// The address of a symbol.
    pub(crate) fn addr(&self, name: &str) -> Option<Addr> {
        self.by_name.get(name).copied()
    }

    /// The function that holds the code at `pc`, and the distance from its start.
    pub(crate) fn function(&self, pc: Addr) -> Option<(&str, u64)> {
        let behind = self.text.partition_point(|(addr, _)| *addr <= pc);
        let (start, _) = self.text.get(behind.checked_sub(1)?)?;
        let first = self.text.partition_point(|(addr, _)| addr < start);
        Some((&self.text[first].1, pc - start))
    }

    /// Those of the kernel in `space`, from its kallsyms (`kernel/kallsyms.c`, `scripts/kallsyms.c`), which VMCOREINFO
    /// says where to find.
    ///
    /// # Errors
    ///
    /// What is not there, or not as expected.
    pub(crate) fn kallsyms(space: &Space, info: &VmcoreInfo, layout: &Layout) -> Result<Symbols, String> {
        let table = |name: &str| {
            let name = format!("kallsyms_{name}");
            info.symbol(&name).ok_or_else(|| {
                format!("the kernel's VMCOREINFO does not say where its symbols are (SYMBOL({name})): give a --vmlinux")
            })
        };
        let cut = || "the kernel's kallsyms cannot be read in whole".to_owned();
        let count = space.number(table("num_syms")?).ok_or_else(cut)?;
        let base = space.word(table("relative_base")?).ok_or_else(cut)?;
        let absolute_percpu = layout.get("KALLSYMS_ABSOLUTE_PERCPU").is_some();
        let tokens = tokens(space, table("token_table")?, table("token_index")?).ok_or_else(cut)?;
        let mut names = Bytes { space, addr: table("names")?, chunk: Vec::new(), at: 0 };
        let offsets = table("offsets")?;
        (0..u64::from(count))
            .map(|i| {
                let name = names.compressed(&tokens)?;
                let offset = space.number(offsets.wrapping_add(4 * i))?;
                let addr = match offset.cast_signed() {
                    // Per-CPU symbols are absolute, the others relative and negative.
                    percpu @ 0.. if absolute_percpu => u64::from(percpu.cast_unsigned()),
                    relative if absolute_percpu => {
                        base.wrapping_sub(1).wrapping_add_signed(-i64::from(relative))
                    }
                    _ => base.wrapping_add(u64::from(offset)),
                };
                let (kind, name) = name.split_at_checked(1)?;
                Some(Symbol { addr, name: name.to_owned(), is_text: matches!(kind, "t" | "T" | "w" | "W") })
            })
            .collect::<Option<Symbols>>()
            .ok_or_else(cut)
    }

    /// Those of a vmlinux, which was moved by `offset` when it booted.
    ///
    /// # Errors
    ///
    /// It is no ELF file with symbols.
    pub(crate) fn vmlinux(elf: &object::File<'_>, offset: u64) -> Result<Symbols, String> {
        let symbols: Symbols = elf
            .symbols()
            .filter(|symbol| symbol.is_definition() || symbol.kind() == SymbolKind::Unknown)
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
                let is_text = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
                let is_text = is_text.is_some_and(|section| {
                    object::ObjectSection::kind(&section) == object::SectionKind::Text
                }) && !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File);
                Some(Symbol { addr: symbol.address().wrapping_add(offset), name, is_text })
            })
            .collect();
        if symbols.text.is_empty() {
            return Err("it has no symbols: a vmlinux that was not stripped is needed".to_owned());
        }
        Ok(symbols)
    }

    /// Those of a module: `count` entries of an ELF symbol table whose values are addresses.
    pub(crate) fn module(
        space: &Space,
        symtab: Addr,
        count: u64,
        strtab: Addr,
        text: &[klp_core::platform::Range],
    ) -> Symbols {
        const ENTRY: u64 = 24;
        (0..count.min(1 << 20))
            .filter_map(|i| {
                let entry = symtab.wrapping_add(ENTRY * i);
                let name = space.text::<128>(strtab.wrapping_add(u64::from(space.number(entry)?)))?;
                let addr = space.word(entry.wrapping_add(8))?;
                let is_text = text.iter().any(|text| text.contains(addr));
                // `$x`, `.L1`: marks of the tools'.
                let is_name = !name.is_empty() && !name.starts_with(['$', '.']);
                is_name.then_some(Symbol { addr, name, is_text })
            })
            .collect()
    }
}

/// The strings that bytes of a compressed name stand for.
fn tokens(space: &Space, table: Addr, index: Addr) -> Option<Vec<String>> {
    (0..256)
        .map(|i| space.text::<128>(table.wrapping_add(u64::from(space.half(index.wrapping_add(2 * i))?))))
        .collect()
}

/// Bytes that lie one after the other.
struct Bytes<'a> {
    space: &'a Space,
    /// Of the byte behind the chunk.
    addr: Addr,
    chunk: Vec<u8>,
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        if self.at == self.chunk.len() {
            // Up to the next multiple: what follows the last name need not be mapped.
            let size = 4096 - self.addr % 4096;
            self.chunk = self.space.bytes(self.addr, usize::try_from(size).ok()?)?;
            self.addr = self.addr.wrapping_add(size);
            self.at = 0;
        }
        self.at += 1;
        self.chunk.get(self.at - 1).copied()
    }

    /// A name with its type in front: its length in one byte, or in two if the first has its high bit set; then a byte
    /// for each token.
    fn compressed(&mut self, tokens: &[String]) -> Option<String> {
        let mut length = usize::from(self.next()?);
        if length & 0x80 != 0 {
            length = length & 0x7f | usize::from(self.next()?) << 7;
        }
        let mut name = String::new();
        for _ in 0..length {
            name += &tokens[usize::from(self.next()?)];
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let symbol = |addr, name: &str, is_text| Symbol { addr, name: name.to_owned(), is_text };
        let symbols: Symbols = [
            symbol(0x2000, "second", true),
            symbol(0x1000, "first", true),
            symbol(0x1000, "alias", true),
            symbol(0x1800, "data", false),
            symbol(0x3000, "first", true),
        ]
        .into_iter()
        .collect();
        assert_eq!(symbols.function(0x1fff), Some(("first", 0xfff)));
        assert_eq!(symbols.function(0x2000), Some(("second", 0)));
        assert_eq!(symbols.function(0xfff), None);
        assert_eq!(symbols.addr("first"), Some(0x1000));
        assert_eq!(symbols.addr("data"), Some(0x1800));
    }
}
