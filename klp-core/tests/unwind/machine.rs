// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a walk looks at, in arrays.

use std::collections::BTreeMap;

use klp_core::Addr;
use klp_core::platform::Range;
use klp_core::unwind::{
    Code, Frame, Machine, Memory, Next, Remembered, ReturnTrampoline, Seen, Start, Task, Unreliable,
    UnwindInfo, UnwindTable, walk,
};

use crate::stack::Arch;

/// A task, and all that a walk of it may ask for.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) start: Start,
    /// The task's stacks, innermost first.
    pub(crate) stacks: Vec<Range>,
    pub(crate) bottom: Addr,
    /// Words by their addresses, on the task's stacks and off them.
    pub(crate) memory: BTreeMap<Addr, u64>,
    /// Instructions by the address of the first, and what code they are.
    pub(crate) text: BTreeMap<Addr, (Vec<[u8; 4]>, Code)>,
    /// Return addresses of each keeper, the newest first.
    pub(crate) kept: [Vec<Addr>; ReturnTrampoline::ALL.len()],
    pub(crate) unwind_info: UnwindInfo,
    /// The unwind table: where it lies, where the code of each entry starts, the entries.
    pub(crate) table: (Addr, Vec<i32>, Vec<[u8; UnwindTable::ENTRY_SIZE]>),
    /// Text that comes and goes.
    pub(crate) fleeting: Option<Range>,
}

impl Image {
    /// A machine without text, and a task whose stack holds zeros.
    pub(crate) fn new(stack: Range, bottom: Addr) -> Image {
        let mut image = Image {
            start: Start::SwitchedOut(klp_core::unwind::Saved::default()),
            stacks: Vec::new(),
            bottom,
            memory: BTreeMap::new(),
            text: BTreeMap::new(),
            kept: Default::default(),
            unwind_info: UnwindInfo::Frames,
            table: (0, Vec::new(), Vec::new()),
            fleeting: None,
        };
        image.add_inner_stack(stack);
        image
    }

    /// Adds a stack of zeros inside of those there are.
    pub(crate) fn add_inner_stack(&mut self, stack: Range) {
        self.stacks.insert(0, stack);
        self.add_memory(stack);
    }

    /// Adds memory that is no stack of the task's.
    pub(crate) fn add_memory(&mut self, range: Range) {
        self.memory.extend((0..range.size / 8).map(|i| (range.start.wrapping_add(8 * i), 0)));
    }

    /// Writes a word to memory that exists.
    pub(crate) fn set(&mut self, addr: Addr, value: u64) {
        *self.memory.get_mut(&addr).expect("memory at the address") = value;
    }

    pub(crate) fn add_text(&mut self, start: Addr, insns: &[[u8; 4]], code: Code) {
        self.text.insert(start, (insns.to_vec(), code));
    }

    /// Describes the code from each of these addresses, in rising order, to the next.
    pub(crate) fn set_table(&mut self, base: Addr, entries: &[(Addr, [u8; UnwindTable::ENTRY_SIZE])]) {
        let offset = |(i, (start, _)): (u64, &(Addr, _))| {
            i32::try_from(start.wrapping_sub(base + 4 * i).cast_signed()).expect("within 2 GiB")
        };
        let offsets = (0..).zip(entries).map(offset).collect();
        self.table = (base, offsets, entries.iter().map(|(_, entry)| *entry).collect());
        self.unwind_info = UnwindInfo::Tables(klp_core::unwind::TableFormat::EndBit);
    }

    pub(crate) fn task(&self) -> Task<'_> {
        Task { start: self.start, stacks: &self.stacks, bottom: self.bottom }
    }

    /// All frames, or those up to where it failed and the reason. Those are the same for a walk that remembers.
    pub(crate) fn walk(&self) -> Result<Vec<Frame>, (Vec<Frame>, Unreliable)> {
        let walked = self.walk_on(self);
        let seen = Seen::new();
        for _ in 0..2 {
            assert_eq!(self.walk_again(&seen), walked);
        }
        walked
    }

    /// As [`walk`](Self::walk), with what other walks have learnt.
    pub(crate) fn walk_again(&self, seen: &Seen) -> Result<Vec<Frame>, (Vec<Frame>, Unreliable)> {
        self.walk_on(&Remembered { machine: self, seen })
    }

    fn walk_on(&self, machine: &impl Machine) -> Result<Vec<Frame>, (Vec<Frame>, Unreliable)> {
        let mut frames = Vec::new();
        let collect = |frame: &Frame| {
            frames.push(*frame);
            Next::Continue
        };
        match walk::<Arch>(&self.task(), machine, collect) {
            Ok(_) => Ok(frames),
            Err(reason) => Err((frames, reason)),
        }
    }
}

impl Memory for Image {
    fn word(&self, addr: Addr) -> Option<u64> {
        self.memory.get(&addr).copied()
    }
}

impl Machine for Image {
    fn code(&self, pc: Addr) -> Code {
        match self.text.range(..=pc).next_back() {
            Some((start, (insns, code))) if pc - start < 4 * insns.len() as u64 => *code,
            _ => Code::NotText,
        }
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        (addr..).zip(bytes).all(|(addr, byte)| {
            let Some((start, (insns, _))) = self.text.range(..=addr).next_back() else { return false };
            let at = usize::try_from(addr - start).expect("small");
            let found = insns.get(at / 4).map(|insn| insn[at % 4]);
            *byte = found.unwrap_or_default();
            found.is_some()
        })
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.kept[keeper as usize].get(nth).copied()
    }

    fn unwind_info(&self) -> UnwindInfo {
        self.unwind_info
    }

    fn unwind_table(&self, _: Addr) -> Option<UnwindTable<'_>> {
        let (base, offsets, entries) = &self.table;
        (!entries.is_empty()).then_some(UnwindTable { base: *base, offsets, entries, index: None })
    }

    fn is_permanent(&self, pc: Addr) -> bool {
        self.fleeting.is_none_or(|text| !text.contains(pc))
    }
}
