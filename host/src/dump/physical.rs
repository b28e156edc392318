// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Physical memory, whatever the dump's format.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use anyhow::Result;
use klp_core::platform::Range;

/// Bytes that are read, and kept, at a time.
const PAGE: usize = 4096;
const PAGE_SIZE: u64 = PAGE as u64;

/// A dump's file format: which memory there is, and its bytes.
pub(crate) trait Source {
    /// The physical addresses that the dump holds, in ascending order.
    fn ranges(&self) -> &[Range];

    /// Reads memory that lies in one of the [`ranges`](Self::ranges).
    fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<()>;
}

/// A dump's physical memory. Pages are read when they are first looked at, and kept.
pub(crate) struct Physical {
    source: Box<dyn Source>,
    pages: RefCell<HashMap<u64, Option<Rc<[u8]>>>>,
}

impl Physical {
    pub(crate) fn new(source: Box<dyn Source>) -> Physical {
        Physical { source, pages: RefCell::default() }
    }

    /// Copies what lies at `addr`; `false` if some of it is not in the dump.
    pub(crate) fn read(&self, mut addr: u64, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            let Some(page) = self.page(addr / PAGE_SIZE) else { return false };
            let from = usize::try_from(addr % PAGE_SIZE).unwrap_or(0);
            let count = bytes.len().min(page.len() - from);
            let (now, later) = bytes.split_at_mut(count);
            now.copy_from_slice(&page[from..from + count]);
            bytes = later;
            addr = addr.wrapping_add(count as u64);
        }
        true
    }

    /// Copies what lies at `addr`, whole pages that will not be looked at again; `false` if the dump does not have them.
    pub(crate) fn read_once(&self, addr: u64, bytes: &mut [u8]) -> bool {
        let inside = |range: &Range| {
            let offset = addr.wrapping_sub(range.start);
            offset < range.size && range.size - offset >= bytes.len() as u64
        };
        self.source.ranges().iter().any(inside) && self.source.read(addr, bytes).is_ok()
    }

    fn page(&self, number: u64) -> Option<Rc<[u8]>> {
        let mut pages = self.pages.borrow_mut();
        let page = pages.entry(number).or_insert_with(|| {
            let addr = number * PAGE_SIZE;
            let whole =
                |range: &Range| addr.wrapping_sub(range.start).saturating_add(PAGE_SIZE) <= range.size;
            let mut page = vec![0; PAGE];
            // The file was whole when it was opened; what cannot be read now is not there.
            let there = self.source.ranges().iter().any(whole) && self.source.read(addr, &mut page).is_ok();
            there.then(|| page.into())
        });
        page.clone()
    }

    /// Hands on the physical address of each place where `needle` is, in ascending order, until `found` says `false`.
    pub(crate) fn find(&self, needle: &[u8], mut found: impl FnMut(u64) -> bool) -> Result<()> {
        const CHUNK: usize = 1 << 20;
        let finder = memchr::memmem::Finder::new(needle);
        let mut chunk = Vec::new();
        for range in self.source.ranges() {
            for from in (0..range.size).step_by(CHUNK) {
                // A little more than the step: what crosses the border is found whole.
                let size = (range.size - from).min((CHUNK + needle.len() - 1) as u64);
                chunk.resize(usize::try_from(size)?, 0);
                self.source.read(range.start + from, &mut chunk)?;
                for at in finder.find_iter(&chunk) {
                    if !found(range.start + from + at as u64) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<Range>, Vec<u8>);

    impl Source for Pieces {
        fn ranges(&self) -> &[Range] {
            &self.0
        }

        fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<()> {
            for (byte, addr) in bytes.iter_mut().zip(addr..) {
                *byte = self.1[usize::try_from(addr).expect("small") % self.1.len()];
            }
            Ok(())
        }
    }

    fn memory(size: u64, bytes: &[u8]) -> Physical {
        Physical::new(Box::new(Pieces(vec![Range { start: 0x10_0000, size }], bytes.to_vec())))
    }

    #[test]
    fn only_what_the_dump_holds_is_read() {
        let memory = memory(2 * PAGE_SIZE, &(0..=255).collect::<Vec<u8>>());
        let mut bytes = [0; 4];
        assert!(memory.read(0x10_0000 + PAGE_SIZE - 2, &mut bytes));
        assert_eq!(bytes, [0xfe, 0xff, 0, 1], "across a page's border");
        assert!(!memory.read(0x10_0000 + 2 * PAGE_SIZE - 2, &mut bytes));
        assert!(!memory.read(0x10_0000 - 2, &mut bytes));
        assert!(!memory.read(u64::MAX - 1, &mut bytes));
    }

    #[test]
    fn what_is_searched_for_is_found_where_it_is() {
        // Over and over, so that some lie across the border between two steps.
        let memory = memory(3 << 20, b"needle_");
        let mut found = Vec::new();
        memory
            .find(b"needle", |addr| {
                found.push(addr);
                true
            })
            .expect("find");
        let first = (0x10_0000_u64..).find(|addr| addr % 7 == 0).expect("one");
        let expected: Vec<u64> = (first..=0x10_0000 + (3 << 20) - 6).step_by(7).collect();
        assert_eq!(found, expected);
    }
}
