// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The call path: what the ftrace callback reads, and what it does.
//!
//! Everything here runs in any context, NMI and idle tasks included, where RCU may not be watching
//! (`reference/2017-rcu-in-the-ftrace-handler.txt`). It takes no lock, allocates nothing, calls nothing that could be
//! traced, and reads only a [`FuncRedirect`], whose hook stays until every CPU has left the callback.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ftrace::{Redirected, Registers, RegsLayout};
use crate::platform::Range;
use crate::return_stack::ReturnStack;
use crate::{Addr, FtraceRedirect};

/// How many patches stacked on one function may call the original function.
pub const MAX_ORIGINAL_CALLERS: usize = 4;

/// One patched function, as the callback sees it.
///
/// Written by the engine under its lock; read by callbacks on any CPU at any time. A call that overlaps a change is
/// redirected as before it or as after it.
#[derive(Debug, Default)]
pub struct FuncRedirect {
    target: AtomicU64,
    /// Whether any slot of `original_callers` was ever used: the common call reads no further.
    had_original_callers: AtomicU32,
    missed: AtomicU32,
    original_callers: [Slot; MAX_ORIGINAL_CALLERS],
}

/// A range of text; empty while `size` is zero. Only an empty slot is written, and a slot is emptied only after every
/// CPU has left the callback since the range was last in use, so no reader mixes two ranges.
#[derive(Debug, Default)]
struct Slot {
    start: AtomicU64,
    size: AtomicU64,
}

impl Slot {
    fn holds(&self, text: Range) -> bool {
        self.start.load(Ordering::Relaxed) == text.start && self.size.load(Ordering::Relaxed) == text.size
    }
}

impl FuncRedirect {
    /// Sends calls to `target` from now on; `None` leaves them in the original function.
    pub fn set_target(&self, target: Option<Addr>) {
        // Release: what the replacement reads was initialised before.
        self.target.store(target.unwrap_or(0), Ordering::Release);
    }

    /// Lets calls from `text` reach the original function. `false` if all [`MAX_ORIGINAL_CALLERS`] places are taken.
    pub fn add_original_caller(&self, text: Range) -> bool {
        if self.original_callers.iter().any(|slot| slot.holds(text)) {
            return true;
        }
        let Some(slot) = self.original_callers.iter().find(|slot| slot.size.load(Ordering::Relaxed) == 0)
        else {
            return false;
        };
        slot.start.store(text.start, Ordering::Relaxed);
        slot.size.store(text.size, Ordering::Release);
        self.had_original_callers.store(1, Ordering::Release);
        true
    }

    /// Takes back [`add_original_caller`](Self::add_original_caller). No task may run in `text` any more, and every
    /// CPU must have left the callback since one did.
    pub fn remove_original_caller(&self, text: Range) {
        for slot in &self.original_callers {
            if slot.holds(text) {
                slot.size.store(0, Ordering::Release);
            }
        }
    }

    /// Whether any place for an original caller is taken.
    pub fn has_original_callers(&self) -> bool {
        self.original_callers.iter().any(|slot| slot.size.load(Ordering::Relaxed) != 0)
    }

    /// Where a call from `caller` (its return address) goes; `None`: the original function.
    #[inline]
    pub fn target(&self, caller: Addr) -> Option<Addr> {
        let target = self.target.load(Ordering::Acquire);
        let original = self.had_original_callers.load(Ordering::Acquire) != 0 && self.calls_original(caller);
        (target != 0 && !original).then_some(target)
    }

    fn calls_original(&self, caller: Addr) -> bool {
        self.original_callers.iter().any(|slot| {
            let size = slot.size.load(Ordering::Acquire);
            Range { start: slot.start.load(Ordering::Relaxed), size }.holds_return_address(caller)
        })
    }

    /// Calls that ran the original function because the task's return stack was full.
    pub fn missed(&self) -> u32 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// Redirects one call, if it is to be redirected.
///
/// `regs` is the block that the trampoline made at the function's patch site, `caller` the return address of the call,
/// `return_stub` the address of the module's return stub. `stack` gives the return stack of the running task and the
/// size of its machine stack in bytes; it is asked only on architectures with [`FtraceRedirect::RETURN_STUB`].
///
/// Any context; preemption must be off, so that the engine can wait for callbacks to finish.
#[inline]
pub fn redirect<'a, A: FtraceRedirect>(
    func: &FuncRedirect,
    regs: &mut impl Registers,
    layout: &RegsLayout,
    caller: Addr,
    return_stub: Addr,
    stack: impl FnOnce() -> (ReturnStack<'a>, u64),
) {
    let Some(target) = func.target(caller) else { return };
    if A::RETURN_STUB
        && let Redirected::ThroughStub(frame) = A::return_frame(regs, layout, target, return_stub)
    {
        let (stack, size) = stack();
        if stack.push(frame, size).is_err() {
            func.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    A::redirect(regs, layout, target, return_stub);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_to_the_target_unless_the_caller_is_an_original_caller() {
        let func = FuncRedirect::default();
        assert_eq!(func.target(0x1000), None, "nothing is redirected at first");
        func.set_target(Some(0x9000));
        let wrapper = Range { start: 0x2000, size: 0x40 };
        assert!(func.add_original_caller(wrapper));
        assert_eq!(func.target(0x1000), Some(0x9000));
        assert_eq!(func.target(0x2004), None);
        assert_eq!(func.target(0x2040), None, "the call was the last instruction of the caller");
        assert_eq!(func.target(0x2000), Some(0x9000), "the call was before the caller's first instruction");
        func.remove_original_caller(wrapper);
        assert_eq!(func.target(0x2004), Some(0x9000));
    }
}
