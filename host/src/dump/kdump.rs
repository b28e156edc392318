// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! makedumpfile's format, which QEMU writes too (makedumpfile's `IMPLEMENTATION` and `diskdump_mod.h`; QEMU's
//! `include/sysemu/dump.h`): a header, a bitmap of the pages there are, a descriptor for each, and the pages, compressed.
//!
//! On its way through a pipe the file is flattened: a sequence of pieces, each with the place it belongs to. QEMU writes
//! it so always.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use klp_core::Endian;
use klp_core::platform::Range;

use super::elf::{Dumped, Note};
use super::physical::Source;
use crate::arches;

/// What each of the two kinds of file starts with.
const FLAT: &[u8] = b"makedumpfile\0";
const PLAIN: &[u8] = b"KDUMP   ";

/// Whether a file that starts with these bytes is of this format.
pub(crate) fn is(start: &[u8]) -> bool {
    start.starts_with(FLAT) || start.starts_with(PLAIN)
}

/// The file as it was meant, flattened or not.
struct Plain {
    file: File,
    /// Of a flattened file: size and place in the file of each piece, by the place where it belongs.
    pieces: Option<BTreeMap<u64, (u64, u64)>>,
}

impl Plain {
    fn open(file: File) -> Result<Plain> {
        let mut start = [0; FLAT.len()];
        file.read_exact_at(&mut start, 0)?;
        if start != FLAT {
            return Ok(Plain { file, pieces: None });
        }
        const HEADER: u64 = 4096;
        const END: u64 = u64::MAX;
        let mut pieces = BTreeMap::new();
        let mut at = HEADER;
        let size = file.metadata()?.len();
        loop {
            let mut piece = [0; 16];
            file.read_exact_at(&mut piece, at)
                .context("the file is cut short: its last piece is not marked")?;
            let (words, _) = piece.as_chunks();
            let [place, length] = [words[0], words[1]].map(u64::from_be_bytes);
            at += 16;
            if place == END {
                return Ok(Plain { file, pieces: Some(pieces) });
            }
            let end = at.checked_add(length).filter(|end| *end <= size);
            let end = end.with_context(|| format!("the file is cut short in the piece at byte {at}"))?;
            pieces.insert(place, (length, at));
            at = end;
        }
    }

    fn read(&self, mut offset: u64, mut bytes: &mut [u8]) -> Result<()> {
        let Some(pieces) = &self.pieces else {
            return self.file.read_exact_at(bytes, offset).context("the file is cut short");
        };
        while !bytes.is_empty() {
            let (place, (length, at)) =
                pieces.range(..=offset).next_back().context("the file does not begin at its beginning")?;
            let skipped = offset - place;
            ensure!(skipped < *length, "the file lacks what belongs to byte {offset}");
            let count = usize::try_from(length - skipped)?.min(bytes.len());
            let (now, later) = bytes.split_at_mut(count);
            self.file.read_exact_at(now, at + skipped)?;
            bytes = later;
            offset += count as u64;
        }
        Ok(())
    }

    fn bytes(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        // Larger than any table of the memory that the format can describe.
        ensure!(size < 1 << 32, "a table of {size} bytes");
        let mut bytes = vec![0; usize::try_from(size)?];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// The pages.
struct Memory {
    file: Plain,
    endian: Endian,
    block: u64,
    ranges: Vec<Range>,
    /// The number of the first page of each range among all pages.
    ranks: Vec<u64>,
    descriptors: u64,
    /// The page that was read last: it is asked for in parts.
    last: RefCell<(u64, Vec<u8>)>,
}

/// Reads the headers.
///
/// # Errors
///
/// What is wrong with the file, in words that complete "FILE: …".
pub(crate) fn open(file: File) -> Result<Dumped, String> {
    read(file).map_err(|error| format!("{error:#}; expected a dump in makedumpfile's format, zlib"))
}

fn read(file: File) -> Result<Dumped> {
    // diskdump_header
    const VERSION: usize = 8;
    const MACHINE: usize = 12 + 4 * 65;
    const BLOCK_SIZE: usize = 428;
    const SUB_HEADER_BLOCKS: usize = 432;
    const BITMAP_BLOCKS: usize = 436;
    // kdump_sub_header
    const NOTES: u64 = 48;
    const NOTES_SIZE: u64 = 56;

    let file = Plain::open(file)?;
    let header = file.bytes(0, 464)?;
    ensure!(header.starts_with(PLAIN), "it has no header");
    // The version is a small number.
    let endian = if header[VERSION] != 0 { Endian::Little } else { Endian::Big };
    let field = |at: usize| -> Result<u64> {
        let bytes = header.get(at..at + 4).context("the header is cut short")?;
        Ok(u64::from(number(bytes, endian)))
    };
    let block = field(BLOCK_SIZE)?;
    ensure!(block.is_power_of_two() && (4096..=1 << 16).contains(&block), "pages of {block} bytes");
    let name: Vec<u8> = header[MACHINE..MACHINE + 65].iter().copied().take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8_lossy(&name).to_lowercase();
    // QEMU does not say.
    let machine = arches()
        .iter()
        .find(|arch| !name.is_empty() && arch.machine == name)
        .map(|arch| arch.facts.elf_machine);
    let bitmaps = 1 + field(SUB_HEADER_BLOCKS)?;
    let blocks = field(BITMAP_BLOCKS)?;
    // Two bitmaps: the pages of the machine, and those that are in the file.
    let bitmap = file.bytes((bitmaps + blocks / 2) * block, blocks / 2 * block)?;
    let (ranges, ranks) = runs(&bitmap, block);
    ensure!(!ranges.is_empty(), "there are no pages in it");
    let long = |at: u64| -> Result<u64> {
        let bytes = file.bytes(block + at, 8)?;
        let (low, high) = (number(&bytes[..4], endian), number(&bytes[4..], endian));
        let (low, high) = if endian == Endian::Little { (low, high) } else { (high, low) };
        Ok(u64::from(high) << 32 | u64::from(low))
    };
    let notes = notes(&file.bytes(long(NOTES)?, long(NOTES_SIZE)?)?, endian);
    let memory = Memory {
        descriptors: (bitmaps + blocks) * block,
        file,
        endian,
        block,
        ranges,
        ranks,
        last: RefCell::new((u64::MAX, Vec::new())),
    };
    // The last page's descriptor and the page itself, so that a file which is cut short is refused now.
    let end = memory.ranges.last().map_or(0, |range| range.start + range.size);
    memory.page(end / block - 1).context("its last page cannot be read")?;
    Ok(Dumped { machine, endian, notes, memory: Box::new(memory) })
}

fn number(bytes: &[u8], endian: Endian) -> u32 {
    let bytes = bytes.first_chunk().copied().unwrap_or_default();
    match endian {
        Endian::Little => u32::from_le_bytes(bytes),
        Endian::Big => u32::from_be_bytes(bytes),
    }
}

/// The runs of ones in a bitmap, as memory in pages of `block` bytes; and how many ones there are before each.
fn runs(bitmap: &[u8], block: u64) -> (Vec<Range>, Vec<u64>) {
    let (mut ranges, mut ranks): (Vec<Range>, Vec<u64>) = Default::default();
    let mut rank = 0;
    for page in 0..8 * bitmap.len() as u64 {
        let byte = bitmap[usize::try_from(page / 8).unwrap_or(0)];
        if byte >> (page % 8) & 1 == 0 {
            continue;
        }
        let start = page * block;
        match ranges.last_mut() {
            Some(last) if last.start + last.size == start => last.size += block,
            _ => {
                ranges.push(Range { start, size: block });
                ranks.push(rank);
            }
        }
        rank += 1;
    }
    (ranges, ranks)
}

/// ELF notes: sizes of name and content, kind, name, content, each padded to four bytes.
fn notes(mut bytes: &[u8], endian: Endian) -> Vec<Note> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(12) {
        let size = |at: usize| usize::try_from(number(&head[at..], endian)).unwrap_or(usize::MAX);
        let (name, data) = (size(0).saturating_add(3) & !3, size(4));
        let Some(content) = rest.get(name..).and_then(|rest| rest.get(..data)) else { break };
        found.push(Note { kind: number(&head[8..], endian), data: content.to_vec() });
        bytes = rest.get(name + ((data + 3) & !3)..).unwrap_or_default();
    }
    found
}

impl Memory {
    /// The content of a page, by its number.
    fn page(&self, number: u64) -> Result<Vec<u8>> {
        const ZLIB: u32 = 1;
        const COMPRESSED: u32 = 0xff;
        let start = number * self.block;
        let run = self.ranges.partition_point(|range| range.start <= start).checked_sub(1);
        let run = run.context("a page that the dump does not hold")?;
        let rank = self.ranks[run] + (start - self.ranges[run].start) / self.block;
        let descriptor = self.file.bytes(self.descriptors + 24 * rank, 24)?;
        let word = |at: usize| self::number(&descriptor[at..], self.endian);
        let (low, high) = if self.endian == Endian::Little { (word(0), word(4)) } else { (word(4), word(0)) };
        let stored = self.file.bytes(u64::from(high) << 32 | u64::from(low), u64::from(word(8)))?;
        let page = match word(12) & COMPRESSED {
            0 => stored,
            ZLIB => {
                let mut page = Vec::new();
                flate2::read::ZlibDecoder::new(stored.as_slice())
                    .take(self.block + 1)
                    .read_to_end(&mut page)?;
                page
            }
            other => bail!("its pages are compressed in a way (flag {other:#x}) that is not zlib"),
        };
        ensure!(page.len() as u64 == self.block, "a page of {} bytes, not {}", page.len(), self.block);
        Ok(page)
    }
}

impl Source for Memory {
    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    fn read(&self, mut addr: u64, mut bytes: &mut [u8]) -> Result<()> {
        while !bytes.is_empty() {
            let number = addr / self.block;
            let mut last = self.last.borrow_mut();
            if last.0 != number {
                *last = (number, self.page(number)?);
            }
            let from = usize::try_from(addr % self.block)?;
            let (now, later) = bytes.split_at_mut((last.1.len() - from).min(bytes.len()));
            now.copy_from_slice(&last.1[from..from + now.len()]);
            addr += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use object::elf;

    use super::*;

    #[test]
    fn a_bitmap_is_runs_of_pages() {
        let (ranges, ranks) = runs(&[0b1000_0110, 0b0000_0001], 4096);
        let range = |first: u64, pages: u64| Range { start: first * 4096, size: pages * 4096 };
        assert_eq!(ranges, [range(1, 2), range(7, 2)]);
        assert_eq!(ranks, [0, 2]);
    }

    #[test]
    fn notes_are_padded() {
        let mut bytes = Vec::new();
        for (name, sizes, kind, data) in
            [("CORE", [5_u32, 5], 1_u32, "abcde"), ("LINUX", [6, 8], 0x304, "12345678")]
        {
            bytes.extend(sizes.map(u32::to_be_bytes).as_flattened());
            bytes.extend(kind.to_be_bytes());
            for text in [format!("{name}\0"), data.to_owned()] {
                bytes.extend(text.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        let expected = [(1, "abcde"), (0x304, "12345678")]
            .map(|(kind, data)| Note { kind, data: data.as_bytes().to_vec() });
        assert_eq!(notes(&bytes, Endian::Big), expected);
        assert_eq!(notes(&bytes[..bytes.len() - 1], Endian::Big), expected[..1], "cut off");
    }

    /// A flattened file of a dump with two pages, one of them compressed.
    fn flattened(endian: Endian) -> Vec<u8> {
        let put = |to: &mut Vec<u8>, at: usize, value: u64, size: usize| {
            to.resize(to.len().max(at + size), 0);
            match endian {
                Endian::Little => to[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]),
                Endian::Big => to[at..at + size].copy_from_slice(&value.to_be_bytes()[8 - size..]),
            }
        };
        let mut plain = b"KDUMP   ".to_vec();
        for (at, value, size) in [(8, 6, 4), (428, 4096, 4), (432, 1, 4), (436, 2, 4)] {
            put(&mut plain, at, value, size);
        }
        plain[12 + 4 * 65..][..6].copy_from_slice(b"x86_64");
        // No notes; the second bitmap says that pages 3 and 5 are there.
        plain.resize(4 * 4096, 0);
        plain[3 * 4096] = 0b0010_1000;
        let mut compressed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        compressed.write_all(&[7; 4096]).expect("compress");
        let compressed = compressed.finish().expect("compress");
        let (first, second) = (5 * 4096, 5 * 4096 + compressed.len());
        for (at, offset, size, flags) in [(0, first, compressed.len(), 1), (24, second, 4096, 0)] {
            put(&mut plain, 4 * 4096 + at, offset as u64, 8);
            put(&mut plain, 4 * 4096 + at + 8, size as u64, 4);
            put(&mut plain, 4 * 4096 + at + 12, flags, 4);
        }
        plain.resize(first, 0);
        plain.extend(compressed);
        plain.extend([9; 4096]);

        let mut flat = FLAT.to_vec();
        flat.resize(4096, 0);
        // In pieces, and not in order.
        let middle = 4096 + 100;
        for (at, piece) in [(middle, &plain[middle..]), (0, &plain[..middle])] {
            flat.extend((at as u64).to_be_bytes());
            flat.extend((piece.len() as u64).to_be_bytes());
            flat.extend(piece);
        }
        flat.extend([0xff; 16]);
        flat
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(bytes).expect("write");
        file
    }

    #[test]
    fn pages_are_found_and_unpacked() {
        for endian in [Endian::Little, Endian::Big] {
            let dump = open(file(&flattened(endian))).expect("whole");
            assert_eq!((dump.machine, dump.endian), (Some(elf::EM_X86_64), endian));
            let page = |number: u64| Range { start: number * 4096, size: 4096 };
            assert_eq!(dump.memory.ranges(), [page(3), page(5)]);
            let mut bytes = [0; 2];
            dump.memory.read(3 * 4096 + 1, &mut bytes).expect("read");
            assert_eq!(bytes, [7; 2]);
            dump.memory.read(5 * 4096, &mut bytes).expect("read");
            assert_eq!(bytes, [9; 2]);
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused() {
        let whole = flattened(Endian::Little);
        for size in [20, 4096, 8192, whole.len() - 5000, whole.len() - 16, whole.len() - 1] {
            let error = open(file(&whole[..size])).err().expect("refused");
            assert!(error.contains("expected a dump"), "{size}: {error}");
        }
    }
}
