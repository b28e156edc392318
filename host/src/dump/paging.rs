// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Page tables: one walker for every architecture's, told by a description.

use klp_core::{Addr, Endian};

use super::physical::Physical;

/// The page tables of a kernel.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Physical address of the outermost table.
    pub root: u64,
    /// The outermost first.
    pub levels: Vec<Level>,
    /// What the bits of an address above those that the levels use must be.
    pub above: Addr,
    /// Byte order of entries.
    pub endian: Endian,
    /// What an entry says.
    pub decode: fn(entry: u64, level: Level) -> Entry,
}

/// One level of tables: the bits of an address that number its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The lowest of them; an entry describes `1 << shift` bytes.
    pub shift: u32,
    /// How many they are.
    pub bits: u32,
}

impl Level {
    /// Bytes that one entry describes.
    pub fn size(self) -> u64 {
        1 << self.shift
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
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
    pub fn levels(page_shift: u32, bits: u32, width: u32) -> Vec<Level> {
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

#[cfg(test)]
mod tests {
    use klp_core::platform::Range;

    use super::super::elf::Note;
    use super::super::mmu::{self, PageTables};
    use super::super::physical::Source;
    use super::super::vmcoreinfo::VmcoreInfo;
    use super::*;

    /// Physical memory with these words in it, and zeros.
    struct Words(Vec<(u64, u64)>, Endian, Range);

    impl Source for Words {
        fn ranges(&self) -> &[Range] {
            std::slice::from_ref(&self.2)
        }

        fn read(&self, addr: u64, bytes: &mut [u8]) -> anyhow::Result<()> {
            bytes.fill(0);
            let end = addr + bytes.len() as u64;
            for (at, word) in self.0.iter().filter(|(at, _)| (addr..end).contains(at)) {
                let from = usize::try_from(at - addr)?;
                let word = match self.1 {
                    Endian::Little => word.to_le_bytes(),
                    Endian::Big => word.to_be_bytes(),
                };
                bytes[from..from + 8].copy_from_slice(&word);
            }
            Ok(())
        }
    }

    fn memory(words: &[(u64, u64)], endian: Endian) -> Physical {
        Physical::new(Box::new(Words(words.to_vec(), endian, Range { start: 0, size: 1 << 20 })))
    }

    fn tables(PageTables(locate): PageTables, info: &str, notes: &[Note]) -> Tables {
        let info = format!("OSRELEASE=6\nPAGESIZE=4096\nSYMBOL(_stext)=0\n{info}");
        let info = VmcoreInfo::parse(&info).expect("text");
        locate(&info, notes).expect("tables")
    }

    /// That a page, or a larger mapping, is where it should be, nothing is beside it, and listing finds the same.
    fn check(tables: &Tables, memory: &Physical, expected: &[Mapping]) {
        for mapping in expected {
            for addr in [mapping.start, mapping.start + 8, mapping.start + mapping.size - 1] {
                assert_eq!(tables.find(memory, addr), Some(*mapping), "{addr:#x}");
            }
            assert_eq!(tables.find(memory, mapping.start + mapping.size), None);
            assert_eq!(tables.find(memory, mapping.start ^ 1 << 62), None, "not in the kernel's half");
        }
        let mut all = Vec::new();
        tables.for_each(memory, &mut |mapping| all.push(mapping));
        assert_eq!(all, expected);
    }

    #[test]
    fn x86_64_has_four_or_five_levels_and_large_pages() {
        let info =
            "SYMBOL(init_top_pgt)=ffffffff80001000\nNUMBER(phys_base)=65536\nNUMBER(pgtable_l5_enabled)=";
        let page = Mapping { start: 0xffff_ffff_c000_2000, size: 4096, addr: 0x7_7000, exec: false };
        let large = Mapping { start: 0xffff_ffff_c020_0000, size: 2 << 20, addr: 0x4000_0000, exec: true };
        // The last entry of the outermost table, whichever that is; `at` is where the tables below it begin.
        let four = |at: u64| {
            [
                (at + 0xff8, at + 0x1003),
                (at + 0x1ff8, at + 0x2003),
                (at + 0x2000, at + 0x3003),
                (at + 0x3010, 1 << 63 | 0x7_7003),
                (at + 0x2008, 0x4000_0083),
            ]
        };
        let tables = |five: &str| tables(mmu::X86_64, &format!("{info}{five}\n"), &[]);
        check(&tables("0"), &memory(&four(0x1_1000), Endian::Little), &[page, large]);
        let mut words = vec![(0x1_1ff8, 0x1_2003)];
        words.extend(four(0x1_2000));
        check(&tables("1"), &memory(&words, Endian::Little), &[page, large]);
    }

    #[test]
    fn arm64_tells_pages_blocks_and_tables_by_two_bits() {
        let info = "SYMBOL(swapper_pg_dir)=ffff800080001000\nNUMBER(kimage_voffset)=0xffff800080000000\nNUMBER(TCR_EL1_T1SZ)=0x10\n";
        let words = [
            (0x1800, 0x2003),
            (0x2000, 0x3003),
            (0x3000, 0x4003),
            (0x4008, 1 << 53 | 0x7_7703),
            // Not a page: that has both bits.
            (0x4010, 0x7_8701),
            (0x3008, 0x4020_0701),
        ];
        let page = Mapping { start: 0xffff_8000_0000_1000, size: 4096, addr: 0x7_7000, exec: false };
        let block = Mapping { start: 0xffff_8000_0020_0000, size: 2 << 20, addr: 0x4020_0000, exec: true };
        check(&tables(mmu::ARM64, info, &[]), &memory(&words, Endian::Little), &[page, block]);
    }

    #[test]
    fn ppc64s_tree_is_big_endian() {
        const NEXT: u64 = 1 << 63;
        const LEAF: u64 = 3 << 62;
        let info = "SYMBOL(swapper_pg_dir)=c000000000010000\n";
        let words = [
            (0x1_0000, NEXT | 0x2_0009),
            (0x2_0000, LEAF | 0x4000_0000 | 1),
            (0x1_0000 + 8 * 0x1000, NEXT | 0x3_0009),
            (0x3_0000, NEXT | 0x4_0009),
            (0x4_0000, NEXT | 0x5_0009),
            (0x5_0010, LEAF | 0x7_7000),
        ];
        let linear = Mapping { start: 0xc000_0000_0000_0000, size: 1 << 30, addr: 0x4000_0000, exec: true };
        let page = Mapping { start: 0xc008_0000_0000_2000, size: 4096, addr: 0x7_7000, exec: false };
        check(&tables(mmu::PPC64, info, &[]), &memory(&words, Endian::Big), &[linear, page]);
    }

    #[test]
    fn s390s_outermost_table_is_told_by_its_asce() {
        // Region-third table at 0x10000.
        let mut registers = vec![0; 16 * 8];
        registers[13 * 8..14 * 8].copy_from_slice(&0x1_0007_u64.to_be_bytes());
        let notes = [Note { kind: object::elf::NT_S390_CTRS, data: registers }];
        let mut words = vec![(0x1_0000, 0x4007), (0x4000, 0x8800), (0x8808, 0x7_7100), (0x4008, 0x10_0400)];
        // All others are invalid.
        words.extend((1..2048).map(|i| (0x1_0000 + 8 * i, 0x20)));
        words.extend((2..2048).map(|i| (0x4000 + 8 * i, 0x20)));
        words.extend((0..256).filter(|i| *i != 1).map(|i| (0x8800 + 8 * i, 0x400)));
        let page = Mapping { start: 0x1000, size: 4096, addr: 0x7_7000, exec: false };
        let segment = Mapping { start: 0x10_0000, size: 1 << 20, addr: 0x10_0000, exec: true };
        check(&tables(mmu::S390, "", &notes), &memory(&words, Endian::Big), &[page, segment]);
    }
}
