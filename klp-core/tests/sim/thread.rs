// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A task that runs: calls functions through whatever their text says now, and returns from them.

use std::sync::atomic::AtomicU64;

use klp_core::branch::{BranchKind, BranchTarget};
use klp_core::ftrace::Registers;
use klp_core::redirect;
use klp_core::return_stack::{COUNT, FRAME_WORDS, FRAMES, MAX_WORDS, OWNER, ReturnStack};
use klp_core::{Addr, FarBranch, FtraceRedirect};

use super::arch::{INSN, LAYOUT, PAD, RETURN_STUB, TOC, Toy};
use super::kernel::Sim;
use super::text::Function;

const STACK: Addr = 0xc000_0000_0000_4000;
const STACK_SIZE: u64 = 16 * 1024;

/// A call that has not returned yet.
struct Call {
    caller: Addr,
    through_stub: bool,
}

/// A running task.
pub(crate) struct Thread<'k, const STUB: bool> {
    kernel: &'k Sim<STUB>,
    /// Its task's address.
    task: Addr,
    words: Vec<AtomicU64>,
    sp: u64,
    calls: Vec<Call>,
    /// Bytes of machine stack that each call takes.
    pub(crate) frame_size: u64,
}

struct Block([u64; 3]);

impl Registers for Block {
    fn read(&self, offset: u16) -> u64 {
        self.0[usize::from(offset / 8)]
    }

    fn write(&mut self, offset: u16, value: u64) {
        self.0[usize::from(offset / 8)] = value;
    }
}

impl<'k, const STUB: bool> Thread<'k, STUB> {
    pub(crate) fn new(kernel: &'k Sim<STUB>) -> Thread<'k, STUB> {
        let words = (0..MAX_WORDS).map(|_| AtomicU64::new(0x5747_4552)).collect();
        Thread { kernel, task: 0, words, sp: STACK + STACK_SIZE - 512, calls: Vec::new(), frame_size: 0x40 }
    }

    /// Calls `function`; `caller` is the call's return address. Returns the function that then runs: `function`
    /// itself, or a replacement.
    pub(crate) fn enter(&mut self, caller: Addr, function: Addr) -> Addr {
        self.sp -= self.frame_size;
        let target = self.trampoline(caller, function);
        let through_stub = target == RETURN_STUB;
        self.calls.push(Call { caller, through_stub });
        if through_stub { self.return_stub() } else { target }
    }

    /// Returns from the newest call, to its caller.
    pub(crate) fn leave(&mut self) {
        let call = self.calls.pop().expect("a call to return from");
        if call.through_stub {
            let frame = self.return_stack().pop(self.sp).expect("the stub finds the call's frame");
            assert_eq!((frame.ra, frame.context), (call.caller, TOC), "the return goes wrong");
        }
        self.sp += self.frame_size;
    }

    /// What a call runs that returns right away.
    pub(crate) fn call(&mut self, caller: Addr, function: Addr) -> Addr {
        let ran = self.enter(caller, function);
        self.leave();
        ran
    }

    fn trampoline(&self, caller: Addr, function: Addr) -> Addr {
        self.kernel.trampoline(self.task, self.sp, caller, function, || self.return_stack())
    }

    /// The stub before the replacement: completes the newest frame.
    fn return_stub(&self) -> Addr {
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let count = self.words[COUNT].load(relaxed);
        let newest = FRAMES + FRAME_WORDS * (usize::try_from(count).expect("a small count") - 1);
        assert_eq!(self.words[newest + 1].load(relaxed), self.sp, "the newest frame is this call's");
        self.words[newest + 2].swap(TOC, relaxed)
    }

    fn return_stack(&self) -> ReturnStack<'_> {
        ReturnStack::claim(&self.words, STACK, 0x5a5a)
    }

    /// Frames on the return stack.
    pub(crate) fn frames(&self) -> usize {
        if self.words[OWNER].load(std::sync::atomic::Ordering::Relaxed) == 0x5a5a {
            self.return_stack().count()
        } else {
            0
        }
    }

    /// Bytes between the machine stack and the low end of the task's stack.
    pub(crate) fn stack_left(&self) -> u64 {
        self.sp - STACK
    }
}

impl<const STUB: bool> Sim<STUB> {
    /// The trampoline at a function's site, if there is one. Returns where execution continues, the function itself if it
    /// is behind its site.
    pub(crate) fn trampoline<'s>(
        &self,
        task: Addr,
        sp: u64,
        caller: Addr,
        function: Addr,
        return_stack: impl Fn() -> ReturnStack<'s>,
    ) -> Addr {
        let Function { code, room, .. } = self.function_at(function);
        let offset = if code.starts_with(&PAD) { INSN } else { 0 };
        let site = function + offset;
        let hooks = self.hooks_at(site);
        let at_site = code.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        let slot = site - room.len() as u64;
        let insn = Toy::<STUB>::decode(site, at_site).map(|insn| (insn.kind, insn.target));
        let calls = match insn {
            Some((BranchKind::Call, _)) => true,
            Some((BranchKind::Jump, target)) => target == BranchTarget::Direct(slot),
            None => false,
        };
        let through_slot = Toy::<STUB>::slot_target(slot, &room);
        assert_eq!(
            calls,
            !hooks.is_empty(),
            "the site of {function:#x} calls the trampoline iff it is hooked"
        );
        let resume = site + INSN;
        let mut regs = Block([resume, sp, caller]);
        for hook in hooks {
            assert_eq!(Toy::<STUB>::call_site(site), hook.site);
            if let Some(target) = hook.direct.get() {
                let undecided = || panic!("{function:#x} is in transition, and the callback is not asked");
                let decided = hook.redirect.target(caller, undecided);
                assert_eq!(
                    decided,
                    Some(target),
                    "a call of {function:#x} that the callback is not asked about"
                );
                assert!(hook.room.is_none() || through_slot == Some(target), "the slot of {function:#x}");
                return target;
            }
            let stub = if STUB { RETURN_STUB } else { 0 };
            let return_stack = || {
                assert!(STUB, "an architecture without a stub is asked for its return stack");
                (return_stack(), STACK_SIZE)
            };
            let universe = || self.universe_of(task);
            let call = redirect::Call { caller, universe, return_stub: stub, return_stack };
            redirect::redirect::<Toy<STUB>>(&hook.redirect, &mut regs, &LAYOUT, call);
        }
        match Toy::<STUB>::resume_address(&regs, &LAYOUT) {
            pc if pc == resume => function,
            pc => pc,
        }
    }
}
