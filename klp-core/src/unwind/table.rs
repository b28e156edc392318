// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! objtool's unwind tables: two parallel arrays, sorted by code address (`Documentation/arch/x86/orc-unwinder.rst`).
//!
//! How the arrays lie in memory is the same for every architecture that has them; what an entry means is not, and belongs
//! to the architecture.

use crate::Addr;

/// The layout of the flags word of an entry. The kernel's headers tell the two apart by what they define
/// (`asm/orc_types.h`: `ORC_TYPE_UNDEFINED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// A type of two bits, and a bit that marks the end of the stack.
    EndBit,
    /// A type of three bits, of which one value marks the end of the stack, and a bit for signal frames.
    SignalBit,
}

/// The part of a table that may describe one address, or all of it.
#[derive(Clone, Copy, Debug)]
pub struct UnwindTable<'a> {
    /// Address of the first of `offsets`.
    pub base: Addr,
    /// For each entry, where its code starts: relative to the address of this word.
    pub offsets: &'a [i32],
    /// The entries, [`ENTRY_SIZE`](Self::ENTRY_SIZE) bytes each.
    pub entries: &'a [[u8; UnwindTable::ENTRY_SIZE]],
    /// An index that narrows the search, where there is one.
    pub index: Option<BlockIndex<'a>>,
}

/// For each block of code, the last entry that starts at or before its first byte (`orc_lookup[]` in
/// `arch/x86/kernel/unwind_orc.c`).
#[derive(Clone, Copy, Debug)]
pub struct BlockIndex<'a> {
    /// Where the first block starts.
    pub start: Addr,
    /// Bytes in a block.
    pub block: u64,
    /// One entry's number for each block, and one more behind the last.
    pub first: &'a [u32],
}

impl<'a> UnwindTable<'a> {
    /// `sizeof(struct orc_entry)`
    pub const ENTRY_SIZE: usize = 6;

    /// The entry that describes the code at `pc`: the last one that starts at or before it. `None` before the first.
    ///
    /// Binary search, in as many steps as the kernel's (`__orc_find`).
    pub fn find(&self, pc: Addr) -> Option<&'a [u8; UnwindTable::ENTRY_SIZE]> {
        let (mut first, end) = self.narrow(pc);
        let mut size = end.saturating_sub(first);
        // Distances from the table: one addition less in each step.
        let distance = pc.wrapping_sub(self.base).cast_signed();
        // Of entries with the same start the last one counts: objtool ends dead ranges with such pairs.
        while size > 0 {
            let middle = first.wrapping_add(size / 2);
            let place = (middle as u64).wrapping_mul(4).cast_signed();
            let start = place.wrapping_add(i64::from(*self.offsets.get(middle)?));
            if start <= distance {
                first = middle.wrapping_add(1);
                size = size.wrapping_sub(size / 2).wrapping_sub(1);
            } else {
                size /= 2;
            }
        }
        self.entries.get(first.checked_sub(1)?)
    }

    /// The half-open range of entries among which the first one behind `pc` is found, or its end.
    fn narrow(&self, pc: Addr) -> (usize, usize) {
        let all = (0, self.offsets.len().min(self.entries.len()));
        let Some(index) = self.index else { return all };
        let Some(block) = pc.checked_sub(index.start).map(|distance| distance / index.block.max(1)) else {
            return all;
        };
        let Ok(block) = usize::try_from(block) else { return all };
        match (index.first.get(block), index.first.get(block.wrapping_add(1))) {
            (Some(&from), Some(&to)) if from <= to => (from as usize, (to as usize + 1).min(all.1)),
            _ => all,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    const BASE: Addr = 0xffff_ffff_8200_0000;

    fn offsets(starts: &[Addr]) -> Vec<i32> {
        starts
            .iter()
            .zip(0u64..)
            .map(|(start, i)| i32::try_from(start.wrapping_sub(BASE + 4 * i).cast_signed()).unwrap())
            .collect()
    }

    fn entry(i: u8) -> [u8; 6] {
        [i, 0, 0, 0, 0, 0]
    }

    const TEXT: Addr = 0xffff_ffff_8100_0000;

    #[test]
    fn an_entry_describes_the_code_from_its_start_to_the_next() {
        let offsets = offsets(&[TEXT, TEXT + 4, TEXT + 0x100, TEXT + 0x100, TEXT + 0x2f0]);
        let entries = [entry(0), entry(1), entry(2), entry(3), entry(4)];
        let first = [0, 3, 3, 4];
        let index = BlockIndex { start: TEXT, block: 256, first: &first };
        for index in [None, Some(index)] {
            let table = UnwindTable { base: BASE, offsets: &offsets, entries: &entries, index };
            let found = |pc| table.find(pc).map(|entry| entry[0]);
            assert_eq!(found(TEXT - 1), None);
            assert_eq!(found(TEXT), Some(0));
            assert_eq!(found(TEXT + 3), Some(0));
            assert_eq!(found(TEXT + 4), Some(1));
            assert_eq!(found(TEXT + 0xff), Some(1));
            assert_eq!(found(TEXT + 0x100), Some(3), "the last of two with the same start");
            assert_eq!(found(TEXT + 0x2ef), Some(3));
            assert_eq!(found(TEXT + 0x2f0), Some(4));
            assert_eq!(found(TEXT + 0x10_0000), Some(4));
        }
    }

    #[test]
    fn a_broken_index_or_table_is_survived() {
        let offsets = offsets(&[TEXT, TEXT + 4]);
        let entries = [entry(0)];
        let first = [7, 1, u32::MAX, u32::MAX];
        let index = Some(BlockIndex { start: TEXT, block: 0, first: &first });
        let table = UnwindTable { base: BASE, offsets: &offsets, entries: &entries, index };
        for pc in [0, TEXT, TEXT + 1, TEXT + 2, TEXT + 3, TEXT + 5, u64::MAX] {
            let _ = table.find(pc);
        }
        let empty = UnwindTable { base: BASE, offsets: &[], entries: &[], index: None };
        assert_eq!(empty.find(TEXT), None);
    }
}
