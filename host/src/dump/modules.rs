// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The modules in a dump.
//!
//! They are found without the kernel's list of them, whose symbol not every kernel has: a `struct module` holds a
//! pointer to itself (`mkobj.mod`), and that it lies at its own address is true of nothing else.

use anyhow::Result;
use klp_core::Addr;
use klp_core::platform::Range;

use super::layout::Layout;
use super::space::Space;
use super::symbols::Symbols;
use super::tables::OwnedTable;

/// A module.
pub(crate) struct Module {
    pub(crate) name: String,
    /// Its code, and its initialisation code if that was not discarded yet.
    pub(crate) text: Vec<Range>,
    pub(crate) symbols: Symbols,
    /// Its unwind table, where the kernel has such.
    pub(crate) table: Option<OwnedTable>,
}

/// Modules lie in memory that is mapped in pages of this size at most.
const LARGEST_PAGE: u64 = 64 * 1024;

/// All modules.
///
/// # Errors
///
/// The layout is not of this version.
pub(crate) fn find(space: &Space, layout: &Layout) -> Result<Vec<Module>> {
    let itself = layout.need("module.mkobj.mod")?;
    let mut candidates = Vec::new();
    let mut bytes = Vec::new();
    space.for_each_mapping(|mapping| {
        if mapping.size > LARGEST_PAGE || mapping.exec {
            return;
        }
        bytes.resize(usize::try_from(mapping.size).unwrap_or(0), 0);
        if !space.physical().read_once(mapping.addr, &mut bytes) {
            return;
        }
        for (i, word) in (0..).zip(bytes.chunks_exact(8)) {
            let candidate = (mapping.start + 8 * i).wrapping_sub(itself);
            if space.word_of(word) == Some(candidate) {
                candidates.push(candidate);
            }
        }
    });
    candidates.into_iter().filter_map(|addr| read(space, layout, addr).transpose()).collect()
}

/// The module at `addr`, if there is one.
fn read(space: &Space, layout: &Layout, addr: Addr) -> Result<Option<Module>> {
    let name = space.text::<56>(addr.wrapping_add(layout.need("module.name")?)).unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let node = addr.wrapping_add(layout.need("module.list")?);
    let linked = space.word(node).and_then(|next| space.word(next.wrapping_add(8))) == Some(node);
    if name.is_empty() || !name.bytes().all(is_name) || !linked {
        return Ok(None);
    }
    let range = |what: &str| -> Result<Range> {
        let start = space.word(addr.wrapping_add(layout.need(&format!("module.{what}"))?)).unwrap_or(0);
        let size = space.number(addr.wrapping_add(layout.need(&format!("module.{what}_size"))?)).unwrap_or(0);
        Ok(Range { start, size: u64::from(size) })
    };
    let text: Vec<Range> = [range("text")?, range("init_text")?]
        .into_iter()
        .filter(|range| range.start != 0 && range.size != 0)
        .collect();
    let field = |at: Addr, name: &str| -> Result<u64> {
        Ok(space.word(at.wrapping_add(layout.need(name)?)).unwrap_or(0))
    };
    let kallsyms = field(addr, "module.kallsyms")?;
    let count = space.number(kallsyms.wrapping_add(layout.need("mod_kallsyms.num_symtab")?)).unwrap_or(0);
    let symbols = Symbols::module(
        space,
        field(kallsyms, "mod_kallsyms.symtab")?,
        u64::from(count),
        field(kallsyms, "mod_kallsyms.strtab")?,
        &text,
    );
    let table = match layout.get("module.arch.num_orcs") {
        Some(count) => OwnedTable::read(
            space,
            field(addr, "module.arch.orc_unwind_ip")?,
            field(addr, "module.arch.orc_unwind")?,
            u64::from(space.number(addr.wrapping_add(count)).unwrap_or(0)),
        ),
        None => None,
    };
    Ok(Some(Module { name, text, symbols, table }))
}
