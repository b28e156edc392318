// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The walk itself: what is the same on every architecture.

use super::{
    Code, Cursor, Found, Frame, MAX_FRAMES, Machine, Memory, ReturnTrampoline, Saved, Step, Unreliable,
    UnwindInfo, UnwindTable,
};
use crate::platform::Range;
use crate::{Addr, Architecture};

/// How many bytes before a return address [`FarBranch::follows_call`](crate::FarBranch::follows_call) is shown.
const CALL_SIZE: usize = 8;

/// Most times that one frame's return address may be kept by somebody: each keeper twice.
const MAX_KEPT: usize = 2 * ReturnTrampoline::ALL.len();

/// Where a walk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the context switch of a task that is switched out.
    SwitchedOut(Saved),
    /// In code whose registers are known: a CPU of a memory image, an interrupted task in NMI.
    At(Cursor),
}

/// A task that is held still.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Where to start.
    pub start: Start,
    /// The stacks it may be on, in the one order in which they can have been entered: innermost first, the task's own
    /// last. A walk moves towards the end of the list and never back.
    pub stacks: &'a [Range],
    /// See [`Unwind::step`](super::Unwind::step).
    pub bottom: Addr,
}

/// What whoever collects the frames wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The caller.
    Continue,
    /// Nothing more: this frame decides.
    Stop,
}

/// How a walk that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every function that the task may return to was reported.
    Reliable,
    /// Whoever collects the frames had seen enough.
    Stopped,
}

/// Reports every function that the task may return to, the newest first.
///
/// The frames reported before an error are good as far as they go: each passed all checks.
///
/// # Errors
///
/// [`Unreliable`], as soon as anything cannot be known for certain.
pub fn walk<A: Architecture>(
    task: &Task<'_>,
    machine: &impl Machine,
    mut found: impl FnMut(&Frame) -> Next,
) -> Result<Verdict, Unreliable> {
    let mut walk = Walk::<A, _>::new(task, machine);
    walk.start(&task.start)?;
    for _ in 0..MAX_FRAMES {
        if found(&walk.frame) == Next::Stop {
            return Ok(Verdict::Stopped);
        }
        if !walk.step()? {
            return Ok(Verdict::Reliable);
        }
    }
    Err(Unreliable::TooManyFrames(walk.frame.cursor.sp))
}

/// The machine, as far as a task's stacks: what an architecture gets to see.
struct Bounded<'a, M> {
    machine: &'a M,
    /// The stacks that may still be looked at: the one the walk is on, and those it may come to.
    stacks: &'a [Range],
}

impl<M> Bounded<'_, M> {
    /// Whether an address, of a word or of a frame, is so many bytes below the end of this stack or more.
    #[inline]
    fn is_on(stack: &Range, addr: Addr, below: u64) -> bool {
        addr.wrapping_sub(stack.start) <= stack.size.wrapping_sub(below) && stack.size >= below
    }

    /// The number of the stack that `sp` lies in. A stack pointer may also be just above the stack: then it is empty.
    #[inline]
    fn stack_of(&self, sp: Addr) -> Option<usize> {
        self.stacks.iter().position(|stack| Self::is_on(stack, sp, 0))
    }
}

impl<M: Machine> Memory for Bounded<'_, M> {
    #[inline]
    fn word(&self, addr: Addr) -> Option<u64> {
        let inside = addr.is_multiple_of(8) && self.stacks.iter().any(|stack| Self::is_on(stack, addr, 8));
        if inside { self.machine.word(addr) } else { None }
    }
}

impl<M: Machine> Machine for Bounded<'_, M> {
    const REMEMBERS: bool = M::REMEMBERS;

    fn code(&self, pc: Addr) -> Code {
        self.machine.code(pc)
    }

    fn return_trampoline(&self, pc: Addr) -> Option<ReturnTrampoline> {
        self.machine.return_trampoline(pc)
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        self.machine.text(addr, bytes)
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.machine.pending_return(keeper, nth)
    }

    fn unwind_info(&self) -> UnwindInfo {
        self.machine.unwind_info()
    }

    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        self.machine.unwind_table(pc)
    }

    fn is_permanent(&self, pc: Addr) -> bool {
        self.machine.is_permanent(pc)
    }

    #[inline]
    fn unwind_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        self.machine.unwind_entry(pc)
    }

    #[inline]
    fn known_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        self.machine.known_entry(pc)
    }

    #[inline]
    fn call_site(&self, pc: Addr) -> Option<Code> {
        self.machine.call_site(pc)
    }

    fn set_call_site(&self, pc: Addr, code: Code) {
        self.machine.set_call_site(pc, code);
    }
}

struct Walk<'a, A, M> {
    machine: Bounded<'a, M>,
    bottom: Addr,
    frame: Frame,
    /// What the frame's code is.
    code: Code,
    /// How many return addresses of each keeper frames have returned to.
    kept: [usize; ReturnTrampoline::ALL.len()],
    /// How a caller is found here.
    by: Found,
    arch: core::marker::PhantomData<A>,
}

impl<'a, A: Architecture, M: Machine> Walk<'a, A, M> {
    #[inline]
    fn new(task: &Task<'a>, machine: &'a M) -> Self {
        let by = match machine.unwind_info() {
            UnwindInfo::Frames => Found::Chain,
            UnwindInfo::Tables(_) => Found::Table,
        };
        Walk {
            machine: Bounded { machine, stacks: task.stacks },
            bottom: task.bottom,
            frame: Frame { cursor: Cursor { pc: 0, sp: 0, fp: 0, exact: false }, found: Found::Start },
            code: Code::Function,
            kept: [0; ReturnTrampoline::ALL.len()],
            by,
            arch: core::marker::PhantomData,
        }
    }

    /// Moves to the first frame.
    fn start(&mut self, start: &Start) -> Result<(), Unreliable> {
        let cursor = match start {
            Start::SwitchedOut(saved) => A::switched_out(saved, &self.machine)?,
            Start::At(cursor) => *cursor,
        };
        self.enter_stack(cursor.sp)?;
        self.frame.cursor = cursor;
        if cursor.exact {
            self.code = self.check_code(&cursor)?;
        } else if let Some(code) = self.machine.call_site(A::strip_return_address(cursor.pc)) {
            self.frame.cursor.pc = A::strip_return_address(cursor.pc);
            self.code = code;
        } else {
            // The context switch may have been jumped to by a function that is traced (`__switch_to` on s390).
            let frame = self.returned_to(cursor)?;
            let kept = matches!(frame.found, Found::Kept(_));
            self.frame = Frame { found: if kept { frame.found } else { Found::Start }, ..frame };
        }
        Ok(())
    }

    /// Moves to the caller; `false` at the true bottom.
    #[inline(always)] // The short way is the walk, mostly: as a call it costs as much again.
    fn step(&mut self) -> Result<bool, Unreliable> {
        if M::REMEMBERS
            && let Some(code) = self.short_step()
        {
            self.code = code;
            return Ok(true);
        }
        self.long_step()
    }

    /// Moves to the caller where a walk came through before and nothing is unusual; says what its code is. What is checked is
    /// checked by [`long_step`](Self::long_step), too, with the same result; the rest of that is remembered.
    #[inline(always)]
    fn short_step(&mut self) -> Option<Code> {
        let callee = &self.frame.cursor;
        let mut caller = A::caller(callee, self.bottom, &self.machine)?;
        let advances = caller.sp > callee.sp
            && caller.sp.is_multiple_of(A::FRAME_ALIGN)
            && self.machine.stacks.first().is_some_and(|stack| Bounded::<M>::is_on(stack, caller.sp, 0));
        if self.code != Code::Function || !advances {
            return None;
        }
        caller.pc = A::strip_return_address(caller.pc);
        let code = self.machine.call_site(caller.pc)?;
        self.frame = Frame { cursor: caller, found: self.by };
        Some(code)
    }

    fn long_step(&mut self) -> Result<bool, Unreliable> {
        let callee = self.frame.cursor;
        match A::step(&callee, self.bottom, &self.machine)? {
            Step::Bottom => self.check_kept().map(|()| false),
            Step::Caller(caller) => {
                // Entry code calls, but nobody calls it: what is above it is a register block, which is no caller.
                if self.code == Code::Entry {
                    return Err(Unreliable::Unwalkable(callee.pc));
                }
                self.advance(&callee, caller.sp)?;
                self.frame = self.returned_to(caller)?;
                Ok(true)
            }
            Step::Interrupted(interrupted) => {
                self.advance(&callee, interrupted.sp)?;
                self.code = self.check_code(&interrupted)?;
                self.frame = Frame { cursor: interrupted, found: Found::Registers };
                Ok(true)
            }
        }
    }

    /// The caller's stack pointer must be above the callee's, on the same stack, or be on one that was entered earlier.
    #[inline]
    fn advance(&mut self, callee: &Cursor, sp: Addr) -> Result<(), Unreliable> {
        if !sp.is_multiple_of(A::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(sp));
        }
        match self.enter_stack(sp)? {
            0 if sp <= callee.sp => Err(Unreliable::DidNotAdvance(sp)),
            _ => Ok(()),
        }
    }

    /// Gives up the stacks that are inside of the one `sp` is on; says how many.
    #[inline]
    fn enter_stack(&mut self, sp: Addr) -> Result<usize, Unreliable> {
        let inner = self.machine.stack_of(sp).ok_or(Unreliable::WrongStack(sp))?;
        if inner > 0 {
            self.machine.stacks = &self.machine.stacks[inner..];
        }
        Ok(inner)
    }

    /// The frame that a return address belongs to: a trampoline's is looked up, and every one is checked.
    fn returned_to(&mut self, mut caller: Cursor) -> Result<Frame, Unreliable> {
        let mut found = self.by;
        for _ in 0..=MAX_KEPT {
            caller.pc = A::strip_return_address(caller.pc);
            if let Some(code) = self.machine.call_site(caller.pc) {
                self.code = code;
                return Ok(Frame { cursor: caller, found });
            }
            let Some(keeper) = self.machine.return_trampoline(caller.pc) else {
                self.code = self.check_code(&caller)?;
                return Ok(Frame { cursor: caller, found });
            };
            let taken = &mut self.kept[keeper as usize];
            caller.pc = self.machine.pending_return(keeper, *taken).ok_or(Unreliable::ReturnLost(keeper))?;
            *taken += 1;
            found = Found::Kept(keeper);
        }
        Err(Unreliable::Unwalkable(caller.pc))
    }

    /// Whether a frame can be at `cursor.pc`, and a call have led on from there.
    fn check_code(&self, cursor: &Cursor) -> Result<Code, Unreliable> {
        let pc = cursor.pc;
        // A return address belongs to the function that its call is in, which may end with that call.
        let code = self.machine.code(cursor.in_function());
        match code {
            Code::NotText => return Err(Unreliable::NotText(pc)),
            Code::Generated | Code::ReturnTrampoline(_) => return Err(Unreliable::Unwalkable(pc)),
            Code::Discarded => return Ok(code),
            Code::Function | Code::Entry => {}
        }
        if cursor.exact {
            return Ok(code);
        }
        if self.follows_call(pc) {
            self.machine.set_call_site(pc, code);
            return Ok(code);
        }
        // Where the frame lies counts here, too.
        if A::starts_stack(cursor, self.bottom, &self.machine) {
            Ok(code)
        } else {
            Err(Unreliable::NotAfterCall(pc))
        }
    }

    /// Whether a call precedes `pc`.
    #[inline]
    fn follows_call(&self, pc: Addr) -> bool {
        let mut before = [0; CALL_SIZE];
        if self.machine.text(pc.wrapping_sub(CALL_SIZE as u64), &mut before) {
            return A::follows_call(pc, &before);
        }
        self.starts_with_call(pc)
    }

    /// As [`follows_call`](Self::follows_call), where the text begins nearer: a call may be the first instruction of a
    /// module.
    #[cold]
    fn starts_with_call(&self, pc: Addr) -> bool {
        let mut before = [0; CALL_SIZE];
        let readable = (1..CALL_SIZE)
            .find(|&skip| self.machine.text(pc.wrapping_sub((CALL_SIZE - skip) as u64), &mut before[skip..]));
        readable.is_some_and(|skip| A::follows_call(pc, &before[skip..]))
    }

    /// At the bottom no keeper may have a return address left: some frame was missed.
    fn check_kept(&self) -> Result<(), Unreliable> {
        for keeper in ReturnTrampoline::ALL {
            if self.machine.pending_return(keeper, self.kept[keeper as usize]).is_some() {
                return Err(Unreliable::ReturnLeft(keeper));
            }
        }
        Ok(())
    }
}
