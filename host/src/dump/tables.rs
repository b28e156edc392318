// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! objtool's unwind tables, copied out of a dump.

use klp_core::Addr;
use klp_core::unwind::UnwindTable;

use super::space::Space;

/// An unwind table.
pub(crate) struct OwnedTable {
    base: Addr,
    offsets: Vec<i32>,
    entries: Vec<[u8; UnwindTable::ENTRY_SIZE]>,
}

impl OwnedTable {
    /// The table of `count` entries whose code addresses are at `ip`. `None` if it is empty or cannot be read.
    pub(crate) fn read(space: &Space, ip: Addr, entries: Addr, count: u64) -> Option<OwnedTable> {
        let count = usize::try_from(count).ok().filter(|count| (1..1 << 24).contains(count))?;
        let offsets = space.bytes(ip, 4 * count)?;
        let entries = space.bytes(entries, UnwindTable::ENTRY_SIZE * count)?;
        let (entries, _) = entries.as_chunks();
        let offset = |bytes: &[u8]| space.number_of(bytes).map(u32::cast_signed);
        Some(OwnedTable {
            base: ip,
            offsets: offsets.chunks_exact(4).map(offset).collect::<Option<_>>()?,
            entries: entries.to_vec(),
        })
    }

    /// As a walk takes it.
    pub(crate) fn as_table(&self) -> UnwindTable<'_> {
        UnwindTable { base: self.base, offsets: &self.offsets, entries: &self.entries, index: None }
    }
}
