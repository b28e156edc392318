// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Page tables: one walker for every architecture's, told by a description.

use klp_core::{Addr, Endian};

use super::physical::Physical;

/// The page tables of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    /// Physical address of the outermost table.
    pub(crate) root: u64,
    /// The outermost first.
    pub(crate) levels: Vec<Level>,
    /// What the bits of an address above those that the levels use must be.
    pub(crate) above: Addr,
    /// Byte order of entries.
    pub(crate) endian: Endian,
    /// What an entry says.
    pub(crate) decode: fn(entry: u64, level: Level) -> Entry,
}

/// One level of tables: the bits of an address that number its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// The lowest of them; an entry describes `1 << shift` bytes.
    pub(crate) shift: u32,
    /// How many they are.
    pub(crate) bits: u32,
}

impl Level {
    /// Bytes that one entry describes.
    pub(crate) fn size(self) -> u64 {
        1 << self.shift
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing is there.
    Absent,
    /// The next table's physical address.
    Table(u64),
    /// Memory at this physical address.
    Memory {
        /// Of its first byte.
        addr: u64,
        /// Whether the kernel may execute it.
        exec: bool,
    },
}

/// A piece of address space that one entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Virtual address of its first byte.
    pub(crate) start: Addr,
    /// Bytes.
    pub(crate) size: u64,
    /// Physical address of its first byte.
    pub(crate) addr: u64,
    /// Whether the kernel may execute it.
    pub(crate) exec: bool,
}

impl Tables {
    /// Levels of `bits` bits each above pages of `1 << page_shift` bytes, for addresses of `width` bits; the outermost
    /// has what is left.
    pub(crate) fn levels(page_shift: u32, bits: u32, width: u32) -> Vec<Level> {
        let shifts = (page_shift..width).step_by(bits as usize);
        let mut levels: Vec<Level> =
            shifts.map(|shift| Level { shift, bits: bits.min(width - shift) }).collect();
        levels.reverse();
        levels
    }

    /// The mapping that `addr` lies in.
    pub(crate) fn find(&self, memory: &Physical, addr: Addr) -> Option<Mapping> {
        if addr & !self.mask() != self.above {
            return None;
        }
        let mut table = self.root;
        for level in &self.levels {
            let index = addr >> level.shift & ((1 << level.bits) - 1);
            match (self.decode)(self.entry(memory, table, index)?, *level) {
                Entry::Absent => return None,
                Entry::Table(next) => table = next,
                Entry::Memory { addr: physical, exec } => {
                    let size = level.size();
                    return Some(Mapping {
                        start: addr & !(size - 1),
                        size,
                        addr: physical & !(size - 1),
                        exec,
                    });
                }
            }
        }
        None
    }

    /// Hands on every mapping, in ascending order.
    pub(crate) fn for_each(&self, memory: &Physical, each: &mut impl FnMut(Mapping)) {
        self.each_in(memory, self.root, &self.levels, self.above, each);
    }

    fn each_in(
        &self,
        memory: &Physical,
        table: u64,
        levels: &[Level],
        start: Addr,
        each: &mut impl FnMut(Mapping),
    ) {
        let Some((level, inner)) = levels.split_first() else { return };
        for index in 0..1 << level.bits {
            let start = start + (index << level.shift);
            let Some(entry) = self.entry(memory, table, index) else { continue };
            match (self.decode)(entry, *level) {
                Entry::Absent => {}
                Entry::Table(next) => self.each_in(memory, next, inner, start, each),
                Entry::Memory { addr, exec } => {
                    let size = level.size();
                    each(Mapping { start, size, addr: addr & !(size - 1), exec });
                }
            }
        }
    }

    fn entry(&self, memory: &Physical, table: u64, index: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        if !memory.read(table.checked_add(8 * index)?, &mut bytes) {
            return None;
        }
        Some(match self.endian {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        })
    }

    /// The bits of an address that the levels and the offset in a page use.
    fn mask(&self) -> u64 {
        let width = self.levels.first().map_or(0, |level| level.shift + level.bits);
        1_u64.checked_shl(width).map_or(u64::MAX, |end| end - 1)
    }
}
