// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The kernel's address space, through its own page tables.

use std::cell::RefCell;
use std::collections::HashMap;

use klp_core::{Addr, Endian};

use super::paging::{Mapping, Tables};
use super::physical::Physical;

/// The kernel's memory by virtual address.
pub(crate) struct Space {
    physical: Physical,
    tables: Tables,
    endian: Endian,
    /// Mappings that were looked up, by the number of the 4 KiB page.
    known: RefCell<HashMap<u64, Option<Mapping>>>,
}

const PAGE: u64 = 4096;

impl Space {
    pub(crate) fn new(physical: Physical, tables: Tables, endian: Endian) -> Space {
        Space { physical, tables, endian, known: RefCell::default() }
    }

    pub(crate) fn physical(&self) -> &Physical {
        &self.physical
    }

    /// What maps `addr`.
    pub(crate) fn mapping(&self, addr: Addr) -> Option<Mapping> {
        let mut known = self.known.borrow_mut();
        *known.entry(addr / PAGE).or_insert_with(|| self.tables.find(&self.physical, addr))
    }

    /// The physical address of `addr`.
    pub(crate) fn translate(&self, addr: Addr) -> Option<u64> {
        let mapping = self.mapping(addr)?;
        Some(mapping.addr + (addr - mapping.start))
    }

    /// Copies what lies at `addr`; `false` if some of it is not mapped, or not in the dump.
    pub(crate) fn read(&self, mut addr: Addr, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            let Some(physical) = self.translate(addr) else { return false };
            let left = usize::try_from(PAGE - addr % PAGE).unwrap_or(0);
            let (now, later) = bytes.split_at_mut(left.min(bytes.len()));
            if !self.physical.read(physical, now) {
                return false;
            }
            addr = addr.wrapping_add(now.len() as u64);
            bytes = later;
        }
        true
    }

    /// The `N` bytes at `addr`.
    fn array<const N: usize>(&self, addr: Addr) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(addr, &mut bytes).then_some(bytes)
    }

    /// The 64-bit word at `addr`.
    pub(crate) fn word(&self, addr: Addr) -> Option<u64> {
        self.word_of(&self.array::<8>(addr)?)
    }

    /// The 32-bit number at `addr`.
    pub(crate) fn number(&self, addr: Addr) -> Option<u32> {
        self.number_of(&self.array::<4>(addr)?)
    }

    /// The 64-bit word that eight bytes of memory are.
    pub(crate) fn word_of(&self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.try_into().ok()?;
        Some(match self.endian {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        })
    }

    /// The 32-bit number that four bytes of memory are.
    pub(crate) fn number_of(&self, bytes: &[u8]) -> Option<u32> {
        let bytes = bytes.try_into().ok()?;
        Some(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }

    /// The 16-bit number at `addr`.
    pub(crate) fn half(&self, addr: Addr) -> Option<u16> {
        let bytes = self.array(addr)?;
        Some(match self.endian {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        })
    }

    /// `size` bytes at `addr`.
    pub(crate) fn bytes(&self, addr: Addr, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.read(addr, &mut bytes).then_some(bytes)
    }

    /// The string in the array of `N` bytes at `addr`.
    pub(crate) fn text<const N: usize>(&self, addr: Addr) -> Option<String> {
        let bytes = self.array::<N>(addr)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Hands on every mapping of the kernel.
    pub(crate) fn for_each_mapping(&self, mut each: impl FnMut(Mapping)) {
        self.tables.for_each(&self.physical, &mut each);
    }
}
