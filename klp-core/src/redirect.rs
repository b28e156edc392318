// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The call path: what the ftrace callback reads, and what it does.
//!
//! Everything here runs in any context, NMI and idle tasks included, where RCU may not be watching
//! (`reference/2017-rcu-in-the-ftrace-handler.txt`). It takes no lock, allocates nothing, calls nothing that could be
//! traced, and reads only a [`FuncRedirect`], whose hook stays until every CPU has left the callback.

use crate::ftrace::{Redirected, Registers, RegsLayout};
use crate::platform::Range;
use crate::return_stack::ReturnStack;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::universe::Universe;
use crate::{Addr, FtraceRedirect};

/// How many patches stacked on one function may call the original function.
pub const MAX_ORIGINAL_CALLERS: usize = 4;

/// The function is in transition: where a call goes depends on the task.
const DECIDING: u32 = 1;
/// Some slot of `original_callers` was used at some time.
const ORIGINAL_CALLERS: u32 = 2;

/// One patched function, as the callback sees it.
///
/// Written by the engine under its lock; read by callbacks on any CPU at any time. A call that overlaps a change is
/// redirected as before it or as after it.
///
/// # The protocol of a transition
///
/// 1. All tasks are in one universe, and calls go to `target`, which is what that universe says.
///    [`decide`](Self::decide) writes `in_universe`, then raises the flag (release). A callback that sees the flag
///    (acquire) sees both targets; one that does not goes where its universe says, too.
/// 2. The machine is stopped before the first task is switched. Every callback is then over, so those that begin later see
///    the flag.
/// 3. Tasks are switched one by one, each while it is held still.
/// 4. All tasks are in one universe again. [`settle`](Self::settle) writes `target`, then lowers the flag (release): with
///    or without it, a callback goes where that universe says.
/// 5. The engine waits until every CPU has left the callback before `in_universe` is written again or the table of
///    universes goes.
#[derive(Debug, Default)]
pub struct FuncRedirect {
    /// The common call reads no further than this and `target`.
    flags: AtomicU32,
    missed: AtomicU32,
    target: AtomicU64,
    in_universe: [AtomicU64; 2],
    original_callers: [Caller; MAX_ORIGINAL_CALLERS],
}

/// A range of text; empty while `size` is zero. Only an empty one is written, and one is emptied only after every
/// CPU has left the callback since the range was last in use, so no reader mixes two ranges.
#[derive(Debug, Default)]
struct Caller {
    start: AtomicU64,
    size: AtomicU64,
}

impl Caller {
    fn holds(&self, text: Range) -> bool {
        self.start.load(Ordering::Relaxed) == text.start && self.size.load(Ordering::Relaxed) == text.size
    }
}

impl FuncRedirect {
    /// Sends calls to `target` from now on, whoever calls; `None` leaves them in the original function.
    ///
    /// If the function is in transition, all tasks are in the universe whose target this is.
    pub fn settle(&self, target: Option<Addr>) {
        // Release: what the replacement reads was initialised before.
        self.target.store(target.unwrap_or(0), Ordering::Release);
        self.flags.fetch_and(!DECIDING, Ordering::Release);
    }

    /// Puts the function in transition: from now on a call goes where the universe of its task says.
    ///
    /// All tasks are in the universe whose target calls reach now, or no call reaches this yet, or only the target of a
    /// universe that no task is in changes; every CPU has left the callback since the function was last in transition.
    pub fn decide(&self, unpatched: Option<Addr>, patched: Option<Addr>) {
        for (universe, target) in [(Universe::Unpatched, unpatched), (Universe::Patched, patched)] {
            self.in_universe[universe.index()].store(target.unwrap_or(0), Ordering::Release);
        }
        self.flags.fetch_or(DECIDING, Ordering::Release);
    }

    /// Whether the function is in transition.
    pub fn is_deciding(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & DECIDING != 0
    }

    /// Lets calls from `text` reach the original function. `false` if all [`MAX_ORIGINAL_CALLERS`] places are taken.
    pub fn add_original_caller(&self, text: Range) -> bool {
        if self.original_callers.iter().any(|caller| caller.holds(text)) {
            return true;
        }
        let free = |caller: &&Caller| caller.size.load(Ordering::Relaxed) == 0;
        let Some(caller) = self.original_callers.iter().find(free) else { return false };
        caller.start.store(text.start, Ordering::Relaxed);
        caller.size.store(text.size, Ordering::Release);
        self.flags.fetch_or(ORIGINAL_CALLERS, Ordering::Release);
        true
    }

    /// Takes back [`add_original_caller`](Self::add_original_caller). No task may run in `text` any more, and every
    /// CPU must have left the callback since one did.
    pub fn remove_original_caller(&self, text: Range) {
        for caller in &self.original_callers {
            if caller.holds(text) {
                caller.size.store(0, Ordering::Release);
            }
        }
    }

    /// Whether any place for an original caller is taken.
    pub fn has_original_callers(&self) -> bool {
        self.original_callers.iter().any(|caller| caller.size.load(Ordering::Relaxed) != 0)
    }

    /// Where a call from `caller` (its return address) goes; `None`: the original function. `universe` is that of the
    /// running task, asked only if the function is in transition.
    #[inline]
    pub fn target(&self, caller: Addr, universe: impl FnOnce() -> Universe) -> Option<Addr> {
        let flags = self.flags.load(Ordering::Acquire);
        let target = if flags & DECIDING == 0 {
            self.target.load(Ordering::Acquire)
        } else {
            self.in_universe[universe().index()].load(Ordering::Acquire)
        };
        let original = flags & ORIGINAL_CALLERS != 0 && self.calls_original(caller);
        (target != 0 && !original).then_some(target)
    }

    fn calls_original(&self, caller: Addr) -> bool {
        self.original_callers.iter().any(|range| {
            let size = range.size.load(Ordering::Acquire);
            Range { start: range.start.load(Ordering::Relaxed), size }.holds_return_address(caller)
        })
    }

    /// Calls that ran the original function because the task's return stack was full.
    pub fn missed(&self) -> u32 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// What the callback knows of the call, beside the register block.
#[derive(Clone, Copy, Debug)]
pub struct Call<U, S> {
    /// The return address of the call.
    pub caller: Addr,
    /// Gives the universe of the running task; asked only if the function is in transition.
    pub universe: U,
    /// Address of the module's return stub; zero where there is none.
    pub return_stub: Addr,
    /// Gives the return stack of the running task and the size of its machine stack in bytes; asked only on architectures
    /// with [`FtraceRedirect::RETURN_STUB`].
    pub return_stack: S,
}

/// Redirects one call, if it is to be redirected.
///
/// `regs` is the block that the trampoline made at the function's patch site.
///
/// Any context; preemption must be off, so that the engine can wait for callbacks to finish.
#[inline]
pub fn redirect<'a, A: FtraceRedirect>(
    func: &FuncRedirect,
    regs: &mut impl Registers,
    layout: &RegsLayout,
    call: Call<impl FnOnce() -> Universe, impl FnOnce() -> (ReturnStack<'a>, u64)>,
) {
    let Some(target) = func.target(call.caller, call.universe) else { return };
    if A::RETURN_STUB
        && let Redirected::ThroughStub(frame) = A::return_frame(regs, layout, target, call.return_stub)
    {
        let (stack, size) = (call.return_stack)();
        if stack.push(frame, size).is_err() {
            func.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    A::redirect(regs, layout, target, call.return_stub);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_to_the_target_unless_the_caller_is_an_original_caller() {
        let func = FuncRedirect::default();
        let target = |caller| func.target(caller, || unreachable!("the function is not in transition"));
        assert_eq!(target(0x1000), None, "nothing is redirected at first");
        func.settle(Some(0x9000));
        let wrapper = Range { start: 0x2000, size: 0x40 };
        assert!(func.add_original_caller(wrapper));
        assert_eq!(target(0x1000), Some(0x9000));
        assert_eq!(target(0x2004), None);
        assert_eq!(target(0x2040), None, "the call was the last instruction of the caller");
        assert_eq!(target(0x2000), Some(0x9000), "the call was before the caller's first instruction");
        func.remove_original_caller(wrapper);
        assert_eq!(target(0x2004), Some(0x9000));
    }

    #[test]
    fn a_function_in_transition_asks_for_the_universe() {
        let func = FuncRedirect::default();
        func.decide(None, Some(0x9000));
        assert!(func.is_deciding());
        assert_eq!(func.target(0x1000, || Universe::Unpatched), None);
        assert_eq!(func.target(0x1000, || Universe::Patched), Some(0x9000));
        func.settle(Some(0x9000));
        assert_eq!(func.target(0x1000, || unreachable!("the transition is over")), Some(0x9000));
    }
}
