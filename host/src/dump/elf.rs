// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ELF core files of a whole machine (QEMU's `dump/dump.c`): each PT_LOAD is a piece of physical memory, the notes hold
//! the processors' registers.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use klp_core::Endian;
use klp_core::platform::Range;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

use super::physical::Source;

/// What a dump's headers say.
pub(crate) struct Dumped {
    pub(crate) memory: Box<dyn Source>,
    /// `e_machine`, unless the format does not say.
    pub(crate) machine: Option<u16>,
    pub(crate) endian: Endian,
    pub(crate) notes: Vec<Note>,
}

/// A note: what it is about, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `n_type`: the `NT_*` of `elf.h`.
    pub kind: u32,
    /// What it says, in the machine's byte order.
    pub data: Vec<u8>,
}

/// The file and where in it memory lies.
struct Memory {
    file: File,
    ranges: Vec<Range>,
    /// Offset in the file of each range.
    offsets: Vec<u64>,
}

/// Reads the headers.
///
/// # Errors
///
/// What is wrong with the file, in words that complete "FILE: …".
pub(crate) fn open(file: File) -> Result<Dumped, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let shared = file.try_clone().map_err(|error| error.to_string())?;
    let data = ReadCache::new(shared);
    let expected = "expected a memory dump, as `klp run --dump` or QEMU's dump-guest-memory writes it";
    let broken = |error: object::Error| format!("{error}; {expected}");
    let header = elf::FileHeader64::<Endianness>::parse(&data).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    if header.e_type(endian) != elf::ET_CORE {
        return Err(format!("an ELF file, but no core file; {expected}"));
    }
    let mut pieces = Vec::new();
    let mut notes = Vec::new();
    for segment in header.program_headers(endian, &data).map_err(broken)? {
        let (offset, bytes) = segment.file_range(endian);
        let end = offset.checked_add(bytes).filter(|end| *end <= size);
        if end.is_none() {
            return Err(format!(
                "the file is cut short: a part of it ends at byte {}, the file after {size} bytes",
                u128::from(offset) + u128::from(bytes)
            ));
        }
        if segment.p_type(endian) == elf::PT_LOAD {
            pieces.push((Range { start: segment.p_paddr(endian), size: bytes }, offset));
        }
        if let Some(mut found) = segment.notes(endian, &data).map_err(broken)? {
            while let Some(note) = found.next().map_err(broken)? {
                notes.push(Note { kind: note.n_type(endian), data: note.desc().to_vec() });
            }
        }
    }
    if pieces.is_empty() {
        return Err(format!("a core file without any memory; {expected}"));
    }
    pieces.sort_by_key(|(range, _)| range.start);
    let (ranges, offsets) = pieces.into_iter().unzip();
    let endian_of_data = if endian == Endianness::Big { Endian::Big } else { Endian::Little };
    Ok(Dumped {
        machine: Some(header.e_machine(endian)),
        endian: endian_of_data,
        notes,
        memory: Box::new(Memory { file, ranges, offsets }),
    })
}

impl Source for Memory {
    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<()> {
        let index = self
            .ranges
            .iter()
            .position(|range| range.contains(addr))
            .context("memory that the dump does not hold")?;
        let offset = self.offsets[index] + (addr - self.ranges[index].start);
        self.file.read_exact_at(bytes, offset).context("cannot read the dump")
    }
}
