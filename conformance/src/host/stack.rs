// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks as compilers, entry code and tracers leave them, and what a walk of each must find.
//!
//! An architecture lists [`Kind`]s, each of which draws a [`Sample`] with the help of a [`Draft`]. Frames are drawn in the
//! order in which a task makes them: it enters the kernel, calls, is interrupted, calls, is switched out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use klp_core::platform::Range;
use klp_core::unwind::{
    Code, Cursor, Found, Frame, Machine, Memory, Next, Remembered, ReturnTrampoline, Seen, Start, Task,
    Unreliable, UnwindInfo, UnwindTable,
};
use klp_core::{Addr, Architecture, Endian};

use crate::image::{Image, Table};

/// What the suite is told about an architecture's stacks.
#[derive(Debug)]
pub struct Stacks {
    /// The kinds of stacks there are.
    pub kinds: &'static [Kind],
    /// The names of all reasons for which walks fail.
    pub reasons: &'static [&'static str],
    /// From the address that links give a frame to its return address.
    pub return_address: i64,
    /// Whether the words on the stacks say that the first frame was called from, or interrupted, the second.
    pub is_caller: fn(&Image, &Cursor, &Frame) -> bool,
    /// Whether a frame is the last of its task, by the words around it.
    pub is_last: fn(&Image, &Cursor) -> bool,
}

impl Stacks {
    /// Whether frames are a whole chain by what the words say: the newest one first, each with its caller, down to the last.
    pub fn is_chain(&self, image: &Image, frames: &[Frame]) -> bool {
        let pairs = frames.windows(2).all(|pair| (self.is_caller)(image, &pair[0].cursor, &pair[1]));
        pairs && frames.last().is_some_and(|last| (self.is_last)(image, &last.cursor))
    }
}

/// A kind of stack.
#[derive(Debug)]
pub struct Kind {
    /// What happened to the task.
    pub name: &'static str,
    /// The section of `Documentation/livepatch/reliable-stacktrace.rst` that it belongs to.
    pub section: &'static str,
    /// Draws one with that many ordinary calls, at least one.
    pub draw: fn(usize) -> Sample,
}

/// A task's stacks, and what a walk must find.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The machine and the task.
    pub image: Image,
    /// The frames, the newest first; those up to where it becomes unreliable.
    pub frames: Vec<Expected>,
    /// How the walk ends.
    pub end: Result<(), Unreliable>,
    /// Where all frames continue, the newest first, whether they are found or not.
    pub whole: Vec<Addr>,
    /// The address of each word that says where another frame is.
    pub links: Vec<Addr>,
    /// The address of each return address.
    slots: Vec<Addr>,
    /// Addresses that lead to another frame than the one whose they are.
    aliases: Vec<Addr>,
}

/// A frame that a walk must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Where it continues.
    pub pc: Addr,
    /// How it is found.
    pub found: Found,
    /// The address of the word that holds `pc`, where a call put it.
    pub slot: Option<Addr>,
}

impl Sample {
    /// All addresses that links might give frames of the sample: those that they do, and those of return addresses.
    pub fn frame_addresses(&self, stacks: &Stacks) -> BTreeSet<u64> {
        let links = self.links.iter().filter_map(|&link| self.image.word(link));
        let slots = self.slots.iter().map(|slot| slot.wrapping_add_signed(-stacks.return_address));
        links.chain(slots).chain(self.aliases.iter().copied()).collect()
    }

    /// Whether all frames there are, found or not, are in a list, in their order.
    pub fn is_within(&self, frames: &[Frame]) -> bool {
        let mut rest = frames.iter();
        self.whole.iter().all(|pc| rest.any(|found| found.cursor.pc == *pc))
    }

    /// What is compared.
    pub fn seen(&self) -> Vec<(Addr, Found)> {
        self.frames.iter().map(|frame| (frame.pc, frame.found)).collect()
    }
}

/// The same of frames that were found.
pub fn seen(frames: &[Frame]) -> Vec<(Addr, Found)> {
    frames.iter().map(|frame| (frame.cursor.pc, frame.found)).collect()
}

/// What a walk found, and what it read.
#[derive(Debug)]
pub struct Walked {
    /// The frames.
    pub frames: Vec<Frame>,
    /// How it ended.
    pub end: Result<(), Unreliable>,
    /// Addresses of the words that it read.
    pub reads: Vec<Addr>,
}

impl Walked {
    /// What is compared.
    pub fn seen(&self) -> Vec<(Addr, Found)> {
        seen(&self.frames)
    }

    /// An address that was read and may not be: off the stacks, or misaligned.
    pub fn stray(&self, image: &Image) -> Option<Addr> {
        let inside = |addr: Addr, stack: &Range| {
            let offset = addr.wrapping_sub(stack.start);
            addr.is_multiple_of(8) && offset < stack.size && stack.size - offset >= 8
        };
        self.reads.iter().copied().find(|&addr| !image.stacks.iter().any(|stack| inside(addr, stack)))
    }
}

/// Walks.
pub fn walk<A: Architecture>(image: &Image) -> Walked {
    walk_without::<A>(image, None)
}

/// Walks where the word at `hole` cannot be read.
///
/// # Panics
///
/// If a walk that remembers what earlier walks have learnt gives anything else.
pub fn walk_without<A: Architecture>(image: &Image, hole: Option<Addr>) -> Walked {
    let recorder = Recorder { image, hole, reads: RefCell::default() };
    let (frames, end) = walk_of::<A>(image, &recorder);
    // Once it learns, and then it knows.
    Experience::with::<A>(image, |seen| {
        for _ in 0..2 {
            let again = walk_of::<A>(image, &Remembered { machine: &recorder, seen });
            assert_eq!(again, (frames.clone(), end), "the memory of earlier walks makes a difference");
        }
    });
    Walked { frames, end, reads: recorder.reads.into_inner() }
}

fn walk_of<A: Architecture>(image: &Image, machine: &impl Machine) -> (Vec<Frame>, Result<(), Unreliable>) {
    let task = Task { start: image.start, stacks: &image.stacks, bottom: image.bottom };
    let mut frames = Vec::new();
    let verdict = klp_core::unwind::walk::<A>(&task, machine, |frame| {
        frames.push(*frame);
        Next::Continue
    });
    (frames, verdict.map(|_| ()))
}

/// What walks have learnt of one text: those of stacks that differ in their words only share it.
#[derive(Default)]
struct Experience {
    arch: &'static str,
    text: BTreeMap<Addr, Vec<u8>>,
    code: Vec<(Range, Code)>,
    table: Table,
    seen: Seen,
}

impl Experience {
    fn with<A: Architecture>(image: &Image, walk: impl FnOnce(&Seen)) {
        thread_local! {
            static EXPERIENCE: RefCell<Experience> = RefCell::default();
        }
        let arch = A::NAME;
        EXPERIENCE.with_borrow_mut(|of| {
            let same = of.arch == arch
                && (&of.text, &of.code, &of.table) == (&image.text, &image.code, &image.table);
            if !same {
                *of = Experience {
                    arch,
                    text: image.text.clone(),
                    code: image.code.clone(),
                    table: image.table.clone(),
                    seen: Seen::new(),
                };
            }
            walk(&of.seen);
        });
    }
}

/// An image that remembers what was read.
struct Recorder<'a> {
    image: &'a Image,
    hole: Option<Addr>,
    reads: RefCell<Vec<Addr>>,
}

impl Memory for Recorder<'_> {
    fn word(&self, addr: Addr) -> Option<u64> {
        self.reads.borrow_mut().push(addr);
        if self.hole == Some(addr) { None } else { self.image.word(addr) }
    }
}

impl Machine for Recorder<'_> {
    fn code(&self, pc: Addr) -> Code {
        self.image.code(pc)
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        self.image.text(addr, bytes)
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.image.pending_return(keeper, nth)
    }

    fn unwind_info(&self) -> UnwindInfo {
        self.image.unwind_info()
    }

    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        self.image.unwind_table(pc)
    }

    fn is_permanent(&self, pc: Addr) -> bool {
        self.image.is_permanent(pc)
    }
}

/// Bytes of a stack.
pub const STACK_SIZE: u64 = 0x2000;
/// Bytes of a function.
pub const FUNCTION_SIZE: u64 = 0x100;
/// How many functions there are. Stacks are drawn with the first half; addresses in the others are what earlier calls
/// left in memory that nobody has written since.
pub const FUNCTIONS: usize = 32;

/// Where text and stacks are.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Text of the kernel.
    pub text: Addr,
    /// The task's stack.
    pub stack: Addr,
}

impl Map {
    /// The `i`th function.
    pub const fn function(&self, i: usize) -> Addr {
        self.text + FUNCTION_SIZE * i as u64
    }

    /// Entry code.
    pub const fn entry(&self) -> Addr {
        self.text + 0x1_0000
    }

    /// Code made at run time.
    pub const fn generated(&self) -> Addr {
        self.text + 0x2_0000
    }

    /// What functions return to whose return address this keeper has.
    pub const fn trampoline(&self, keeper: ReturnTrampoline) -> Addr {
        self.text + 0x3_0000 + FUNCTION_SIZE * keeper as u64
    }

    /// Whether functions return to `word` whose return address some keeper has.
    pub fn is_trampoline(&self, word: u64) -> bool {
        ReturnTrampoline::ALL.iter().any(|keeper| word == self.trampoline(*keeper))
    }

    /// The `i`th stack inside of the task's own, the innermost of them last.
    pub const fn inner_stack(&self, i: usize) -> Addr {
        self.stack + 0x10_0000 * (1 + i as u64)
    }
}

/// The text of a function of little-endian instructions, four bytes each: [`FUNCTION_SIZE`] bytes.
pub const fn little_endian(insns: [u32; 0x40]) -> [u8; 0x100] {
    let mut code = [0; 0x100];
    let mut i = 0;
    while i < insns.len() {
        let [a, b, c, d] = insns[i].to_le_bytes();
        (code[4 * i], code[4 * i + 1], code[4 * i + 2], code[4 * i + 3]) = (a, b, c, d);
        i += 1;
    }
    code
}

/// A function's text, and places in it.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its [`FUNCTION_SIZE`] bytes, the last of which are a call.
    pub code: &'static [u8],
    /// From its start to behind a call in it.
    pub after_call: u64,
    /// From its start to an instruction behind its prologue that no call precedes.
    pub middle: u64,
}

/// A stack that is being drawn.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What there is so far.
    pub image: Image,
    /// Where it all lies.
    pub map: Map,
    /// The frames, the oldest first.
    frames: Vec<Expected>,
    links: Vec<Addr>,
    aliases: Vec<Addr>,
    after_call: u64,
}

impl Draft {
    /// Text, and a task's stack that holds what earlier calls left there: numbers, and return addresses.
    pub fn new(endian: Endian, map: Map, function: &Function) -> Draft {
        assert_eq!(function.code.len() as u64, FUNCTION_SIZE, "a function's text");
        let mut image = Image::new(endian, map.stack, usize::try_from(STACK_SIZE).expect("small"));
        image.add_text(map.text, &function.code.repeat(FUNCTIONS), Code::Function);
        image.add_text(map.entry(), function.code, Code::Entry);
        image.add_text(map.generated(), function.code, Code::Generated);
        for keeper in ReturnTrampoline::ALL {
            // Functions return to its first byte; behind that it runs.
            let start = map.trampoline(keeper);
            image.code.push((Range { start, size: 1 }, Code::ReturnTrampoline(keeper)));
            image.add_text(start, function.code, Code::Generated);
        }
        let mut draft = Draft {
            image,
            map,
            frames: Vec::new(),
            links: Vec::new(),
            aliases: Vec::new(),
            after_call: function.after_call,
        };
        draft.leave_remains(map.stack);
        draft
    }

    fn leave_remains(&mut self, stack: Addr) {
        for (i, addr) in (stack..stack + STACK_SIZE).step_by(8).enumerate() {
            let word = match i % 4 {
                0 => 0,
                1 => 0x1_0000_0003 * i as u64,
                _ => self.map.function(FUNCTIONS / 2 + i % (FUNCTIONS / 2)) + self.after_call,
            };
            self.image.set(addr, word);
        }
    }

    /// Adds the `i`th inner stack; they are added in the order of their numbers. Returns its high end.
    pub fn add_stack(&mut self, i: usize) -> Addr {
        let start = self.map.inner_stack(i);
        self.image.stacks.insert(0, Range { start, size: STACK_SIZE });
        self.image.memory.insert(start, vec![0; usize::try_from(STACK_SIZE).expect("small")]);
        self.leave_remains(start);
        start + STACK_SIZE
    }

    /// A register block of numbers.
    pub fn registers(&mut self, block: Addr, size: u64) {
        for addr in (block..block + size).step_by(8) {
            self.image.set(addr, addr & 0xff);
        }
    }

    /// A word that says where another frame is.
    pub fn link(&mut self, at: Addr, to: u64) {
        self.image.set(at, to);
        self.links.push(at);
    }

    /// The frame that continues at `pc` has called: its return address is at `slot`.
    pub fn called(&mut self, pc: Addr, slot: Addr) {
        self.called_with(pc, slot, pc);
    }

    /// The same where the word is not the address.
    pub fn called_with(&mut self, pc: Addr, slot: Addr, word: u64) {
        self.image.set(slot, word);
        let found = match self.image.unwind_info {
            UnwindInfo::Frames => Found::Chain,
            UnwindInfo::Tables(_) => Found::Table,
        };
        self.frames.push(Expected { pc, found, slot: Some(slot) });
    }

    /// The frame was interrupted at `pc`.
    pub fn interrupted(&mut self, pc: Addr) {
        self.frames.push(Expected { pc, found: Found::Registers, slot: None });
    }

    /// The walk starts in the frame that continues at `pc`; where that is saved on the stack, at `slot`.
    pub fn starts(&mut self, start: Start, pc: Addr, slot: Option<Addr>) {
        self.image.start = start;
        self.frames.push(Expected { pc, found: Found::Start, slot });
    }

    /// The words at `addr` happen to be like a frame's.
    pub fn alias(&mut self, addr: Addr) {
        self.aliases.push(addr);
    }

    /// Addresses as far from each return address so far are as good as frames'.
    pub fn alias_slots(&mut self, offset: i64) {
        let slots = self.frames.iter().filter_map(|frame| frame.slot);
        self.aliases.extend(slots.map(|slot| slot.wrapping_add_signed(offset)));
    }

    /// A stack whose frames are all found.
    pub fn reliable(mut self) -> Sample {
        self.frames.reverse();
        Sample {
            image: self.image,
            end: Ok(()),
            whole: self.frames.iter().map(|frame| frame.pc).collect(),
            slots: self.frames.iter().filter_map(|frame| frame.slot).collect(),
            frames: self.frames,
            links: self.links,
            aliases: self.aliases,
        }
    }

    /// A stack of which only the newest frames are found, up to the one that continues at `pc`.
    pub fn unreliable_behind(self, pc: Addr, reason: Unreliable) -> Sample {
        let mut sample = self.reliable();
        let last = sample.frames.iter().position(|frame| frame.pc == pc).expect("a frame that was drawn");
        sample.frames.truncate(last + 1);
        sample.end = Err(reason);
        sample
    }
}

/// A task that is being drawn, as it runs.
pub trait Drawn: Sized {
    /// From a function's start to behind the call in it.
    const AFTER_CALL: u64;

    /// What there is so far.
    fn draft(self) -> Draft;

    /// Calls the `i`th function, which will go on to call `behind_call` bytes from its start.
    fn call_from(&mut self, i: usize, behind_call: u64);

    /// Is switched out.
    fn switch_out(&mut self);

    /// Calls the `i`th function, which will go on to call.
    fn call(&mut self, i: usize) {
        self.call_from(i, Self::AFTER_CALL);
    }

    /// Calls so many functions, each from the one before it.
    fn calls(mut self, depth: usize) -> Self {
        (0..depth).for_each(|i| self.call(i));
        self
    }

    /// Asleep, and all frames are found.
    fn asleep(mut self) -> Sample {
        self.switch_out();
        self.draft().reliable()
    }

    /// Asleep behind a function whose last instruction is the call.
    fn noreturn(mut self, depth: usize) -> Sample {
        self.call_from(depth, FUNCTION_SIZE);
        self.call(depth + 2);
        self.asleep()
    }
}
