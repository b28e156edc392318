// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Records what a walk looks at, as an [`Image`] in which the same walk can be done again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use klp_core::platform::Range;
use klp_core::unwind::{
    Code, Frame, Machine, Memory, Next, ReturnTrampoline, Start, Task, Unreliable, UnwindInfo, UnwindTable,
    walk,
};
use klp_core::{Addr, Architecture};

use super::{Image, Table};

/// A machine that is looked at, and what was looked at.
struct Recorder<'a, M> {
    machine: &'a M,
    text: RefCell<BTreeMap<Addr, u8>>,
    code: RefCell<BTreeSet<Addr>>,
    table: RefCell<BTreeSet<Addr>>,
}

impl<M: Machine> Memory for Recorder<'_, M> {
    fn word(&self, addr: Addr) -> Option<u64> {
        self.machine.word(addr)
    }
}

impl<M: Machine> Machine for Recorder<'_, M> {
    fn code(&self, pc: Addr) -> Code {
        self.code.borrow_mut().insert(pc);
        self.machine.code(pc)
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        let there = self.machine.text(addr, bytes);
        if there {
            self.text.borrow_mut().extend((addr..).zip(bytes.iter().copied()));
        }
        there
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.machine.pending_return(keeper, nth)
    }

    fn unwind_info(&self) -> UnwindInfo {
        self.machine.unwind_info()
    }

    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        self.table.borrow_mut().insert(pc);
        self.machine.unwind_table(pc)
    }
}

/// More kept return addresses than any task has.
const MOST_KEPT: usize = 256;

/// Walks, and returns an image with what the walk looked at and all of the stacks that is in use, the frames, and the
/// verdict. `code` says what code is where; the first range that holds an address counts.
pub fn record<A: Architecture>(
    task: &Task<'_>,
    machine: &impl Machine,
    code: &[(Range, Code)],
) -> (Image, Vec<Frame>, Result<(), Unreliable>) {
    let recorder =
        Recorder { machine, text: RefCell::default(), code: RefCell::default(), table: RefCell::default() };
    let mut frames = Vec::new();
    let verdict = walk::<A>(task, &recorder, |frame| {
        frames.push(*frame);
        Next::Continue
    });
    let sp = match task.start {
        Start::SwitchedOut(saved) => saved.sp,
        Start::At(cursor) => cursor.sp,
    };
    let mut image = Image {
        start: task.start,
        stacks: task.stacks.to_vec(),
        bottom: task.bottom,
        memory: BTreeMap::new(),
        text: pieces(&recorder.text.borrow()),
        code: touched(&recorder, code),
        kept: ReturnTrampoline::ALL
            .map(|keeper| (0..MOST_KEPT).map_while(|nth| machine.pending_return(keeper, nth)).collect()),
        unwind_info: machine.unwind_info(),
        table: entries(machine, &recorder.table.borrow()),
        ..Image::new(A::ENDIAN, 0, 0)
    };
    for stack in task.stacks {
        let in_use = if stack.contains(sp) { sp & !7 } else { stack.start };
        for addr in (in_use..stack.start + stack.size).step_by(8) {
            let Some(word) = machine.word(addr) else { continue };
            let bytes = match A::ENDIAN {
                klp_core::Endian::Little => word.to_le_bytes(),
                klp_core::Endian::Big => word.to_be_bytes(),
            };
            image.memory.entry(in_use).or_default().extend(bytes);
        }
    }
    (image, frames, verdict.map(|_| ()))
}

/// Bytes by address as runs of bytes.
fn pieces(bytes: &BTreeMap<Addr, u8>) -> BTreeMap<Addr, Vec<u8>> {
    let mut pieces: BTreeMap<Addr, Vec<u8>> = BTreeMap::new();
    for (addr, byte) in bytes {
        match pieces.last_entry().filter(|last| last.key() + last.get().len() as u64 == *addr) {
            Some(mut last) => last.get_mut().push(*byte),
            None => drop(pieces.insert(*addr, vec![*byte])),
        }
    }
    pieces
}

/// Of the ranges of code, those that hold an address that was asked for; and what is in none of them, by itself.
fn touched<M: Machine>(recorder: &Recorder<'_, M>, code: &[(Range, Code)]) -> Vec<(Range, Code)> {
    let asked = recorder.code.borrow();
    let known = |pc: &Addr| code.iter().any(|(range, _)| range.contains(*pc));
    let others = asked.iter().filter(|pc| !known(pc)).map(|pc| {
        let kind = recorder.machine.code(*pc);
        (Range { start: *pc, size: 1 }, kind)
    });
    code.iter()
        .filter(|(range, _)| asked.iter().any(|pc| range.contains(*pc)))
        .copied()
        .chain(others.filter(|(_, kind)| *kind != Code::NotText))
        .collect()
}

/// The entries that describe these addresses, and where each one's code ends: the start of the next.
fn entries(machine: &impl Machine, asked: &BTreeSet<Addr>) -> Table {
    let mut base = 0;
    let mut found = BTreeMap::new();
    for pc in asked.iter().flat_map(|pc| [*pc, pc.wrapping_sub(1)]) {
        let Some(table) = machine.unwind_table(pc) else { continue };
        let start = |i: usize| {
            let offset = i64::from(*table.offsets.get(i)?);
            Some(table.base.wrapping_add(4 * i as u64).wrapping_add_signed(offset))
        };
        let (mut behind, mut end) = (0, table.offsets.len());
        while behind < end {
            let middle = behind + (end - behind) / 2;
            match start(middle) {
                Some(start) if start <= pc => behind = middle + 1,
                _ => end = middle,
            }
        }
        let near = behind.saturating_sub(1)..(behind + 1).min(table.entries.len());
        found.extend(near.filter_map(|i| Some((start(i)?, *table.entries.get(i)?))));
        // The lowest, so that every table's code is near.
        base = if base == 0 { table.base } else { base.min(table.base) };
    }
    Table::new(base, found.into_iter().collect())
}
