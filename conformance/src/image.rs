// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A machine in an array: what a stack walk looks at, without a kernel.

pub mod fixture;
mod record;

use std::collections::BTreeMap;

use klp_core::platform::Range;
use klp_core::unwind::{
    Code, Frame, Machine, Memory, Next, Remembered, ReturnTrampoline, Seen, Start, Task, Unreliable,
    UnwindInfo, UnwindTable, Verdict,
};
use klp_core::{Addr, Architecture, Endian};

pub use record::record;

/// One task's stacks, the text its frames lie in, and what keeps its return addresses.
#[derive(Clone, Debug)]
pub struct Image {
    /// Byte order of words on the stacks.
    pub endian: Endian,
    /// Where the walk starts.
    pub start: Start,
    /// The task's stacks, innermost first.
    pub stacks: Vec<Range>,
    /// See [`klp_core::unwind::Task::bottom`].
    pub bottom: Addr,
    /// Memory: bytes by the address of the first. Pieces do not overlap; a word lies in one piece.
    pub memory: BTreeMap<Addr, Vec<u8>>,
    /// Text: bytes by the address of the first.
    pub text: BTreeMap<Addr, Vec<u8>>,
    /// What code is where; the first range that holds an address counts.
    pub code: Vec<(Range, Code)>,
    /// Return addresses of each keeper (numbered as [`ReturnTrampoline::ALL`]), the newest first.
    pub kept: [Vec<Addr>; ReturnTrampoline::ALL.len()],
    /// How the kernel is unwound.
    pub unwind_info: UnwindInfo,
    /// The kernel's unwind table.
    pub table: Table,
}

/// An unwind table, in the order of its entries' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    base: Addr,
    offsets: Vec<i32>,
    entries: Vec<[u8; UnwindTable::ENTRY_SIZE]>,
}

impl Table {
    /// A table of these entries, each with the address its code starts at. `base` is the address the table itself has:
    /// within 2 GiB of the code.
    ///
    /// # Panics
    ///
    /// If code is out of reach.
    pub fn new(base: Addr, mut entries: Vec<(Addr, [u8; UnwindTable::ENTRY_SIZE])>) -> Table {
        entries.sort_by_key(|(start, _)| *start);
        let offset = |(i, (start, _)): (u64, &(Addr, _))| {
            let distance = start.wrapping_sub(base + 4 * i).cast_signed();
            i32::try_from(distance).expect("code within 2 GiB of its unwind table")
        };
        Table {
            base,
            offsets: (0..).zip(&entries).map(offset).collect(),
            entries: entries.into_iter().map(|(_, entry)| entry).collect(),
        }
    }
}

impl Table {
    /// Replaces the `i`th entry, counted round.
    pub fn set_entry(&mut self, i: usize, entry: [u8; UnwindTable::ENTRY_SIZE]) {
        if let Some(i) = i.checked_rem(self.entries.len()) {
            self.entries[i] = entry;
        }
    }
}

/// The piece that holds `len` bytes at `addr`.
fn piece(pieces: &BTreeMap<Addr, Vec<u8>>, addr: Addr, len: usize) -> Option<&[u8]> {
    let (start, bytes) = pieces.range(..=addr).next_back()?;
    let from = usize::try_from(addr - start).ok()?;
    bytes.get(from..from.checked_add(len)?)
}

impl Memory for Image {
    fn word(&self, addr: Addr) -> Option<u64> {
        let bytes = piece(&self.memory, addr, 8)?.try_into().ok()?;
        Some(match self.endian {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        })
    }
}

impl Machine for Image {
    fn code(&self, pc: Addr) -> Code {
        self.code.iter().find(|(range, _)| range.contains(pc)).map_or(Code::NotText, |(_, code)| *code)
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        let found = piece(&self.text, addr, bytes.len());
        if let Some(found) = found {
            bytes.copy_from_slice(found);
        }
        found.is_some()
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.kept[keeper as usize].get(nth).copied()
    }

    fn unwind_info(&self) -> UnwindInfo {
        self.unwind_info
    }

    fn unwind_table(&self, _: Addr) -> Option<UnwindTable<'_>> {
        let Table { base, offsets, entries } = &self.table;
        (!entries.is_empty()).then_some(UnwindTable { base: *base, offsets, entries, index: None })
    }

    /// Nothing else is there.
    fn is_permanent(&self, _: Addr) -> bool {
        true
    }
}

impl Image {
    /// An image with one stack of zeros, `size` bytes (a multiple of eight) at `start`, nothing else.
    pub fn new(endian: Endian, start: Addr, size: usize) -> Image {
        let stack = Range { start, size: size as u64 };
        Image {
            endian,
            start: Start::SwitchedOut(klp_core::unwind::Saved::default()),
            stacks: vec![stack],
            bottom: start + size as u64,
            memory: BTreeMap::from([(start, vec![0; size])]),
            text: BTreeMap::new(),
            code: Vec::new(),
            kept: Default::default(),
            unwind_info: UnwindInfo::Frames,
            table: Table::default(),
        }
    }

    /// Writes a word to memory that exists.
    ///
    /// # Panics
    ///
    /// If there is no memory at `addr`.
    pub fn set(&mut self, addr: Addr, value: u64) {
        let bytes = match self.endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        };
        let (start, piece) = self.memory.range_mut(..=addr).next_back().expect("memory at the address");
        let from = usize::try_from(addr - start).expect("an offset");
        piece[from..from + 8].copy_from_slice(&bytes);
    }

    /// The same words on a machine of the other byte order.
    pub fn swap_byte_order(&mut self) {
        self.endian = match self.endian {
            Endian::Little => Endian::Big,
            Endian::Big => Endian::Little,
        };
        for word in self.memory.values_mut().flat_map(|piece| piece.chunks_exact_mut(8)) {
            word.reverse();
        }
    }

    /// Adds text whose code is of one kind.
    pub fn add_text(&mut self, start: Addr, bytes: &[u8], code: Code) {
        self.code.push((Range { start, size: bytes.len() as u64 }, code));
        self.text.insert(start, bytes.to_vec());
    }

    /// Walks.
    ///
    /// # Errors
    ///
    /// The frames up to there, and the reason.
    ///
    /// # Panics
    ///
    /// If a walk that remembers finds anything else.
    pub fn walk<A: Architecture>(&self) -> Result<Vec<Frame>, (Vec<Frame>, Unreliable)> {
        let walked = self.walk_on::<A>(self);
        // It learns, and then it knows.
        let remembered = Remembered { machine: self, seen: &Seen::new() };
        for _ in 0..2 {
            assert_eq!(
                self.walk_on::<A>(&remembered),
                walked,
                "the memory of earlier walks makes a difference"
            );
        }
        walked
    }

    fn walk_on<A: Architecture>(
        &self,
        machine: &impl Machine,
    ) -> Result<Vec<Frame>, (Vec<Frame>, Unreliable)> {
        let task = Task { start: self.start, stacks: &self.stacks, bottom: self.bottom };
        let mut frames = Vec::new();
        let collect = |frame: &Frame| {
            frames.push(*frame);
            Next::Continue
        };
        match klp_core::unwind::walk::<A>(&task, machine, collect) {
            Ok(Verdict::Reliable | Verdict::Stopped) => Ok(frames),
            Err(reason) => Err((frames, reason)),
        }
    }
}
