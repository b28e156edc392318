// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Tasks: they call functions that may be patched, sleep, fork, leave the kernel, exit.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use klp_core::engine::code::Code;
use klp_core::ftrace::Registers;
use klp_core::platform::{Hold, Range};
use klp_core::redirect::{self, Call, FuncRedirect};
use klp_core::universe::Universes;
use klp_core::unwind::{Cursor, Found, Frame, Unreliable};
use klp_core::{Addr, return_stack::ReturnStack};
use loom::cell::Cell as Tracked;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Mutex, MutexGuard};
use loom::thread::JoinHandle;

use crate::arch::{INSN, LAYOUT, Toy};
use crate::machine::{FUNCTIONS, Machine, Wrong, lock};

/// Where ftrace's trampoline lies.
const TRAMPOLINE: Addr = 0x30_0000;
/// Where the patches' texts lie, and how far apart.
const PATCHES: Addr = 0x40_0000;
const PATCH: u64 = 0x1000;
/// From the start of a patch's text to the replacement of the first function, and on to the next one.
const REPLACEMENT: u64 = 0x100;

/// The text of a patch.
pub(crate) const fn text(patch: usize) -> Range {
    Range { start: PATCHES + PATCH * patch as u64, size: PATCH }
}

/// Where in it a function's replacement lies.
pub(crate) const fn replacement(patch: usize, function: usize) -> Addr {
    text(patch).start + REPLACEMENT * (1 + function as u64)
}

/// The patch whose replacement runs; `None`: the original function.
pub(crate) type Version = Option<usize>;

thread_local! {
    static SEEN: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes what happened in an execution: a promise that is never put to the test proves nothing.
pub(crate) fn saw(event: &'static str) {
    SEEN.with_borrow_mut(|seen| seen.insert(event));
}

/// What happened in any execution that this thread checked.
pub(crate) fn take_seen() -> BTreeSet<&'static str> {
    SEEN.take()
}

/// Where a version of a function goes on behind its patch site.
const fn body(version: Version, function: usize) -> Addr {
    match version {
        Some(patch) => replacement(patch, function),
        None => FUNCTIONS[function].1 + INSN,
    }
}

/// What a walk finds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stack {
    /// Where the task goes on, in each function that it is in; outermost first, zero if there is none.
    pub(crate) frames: [Addr; FUNCTIONS.len()],
    /// What lies elsewhere: where ftrace's trampoline will go on.
    pub(crate) resume: Addr,
    pub(crate) exited: bool,
}

impl Stack {
    /// Every word on it.
    pub(crate) fn words(self) -> impl Iterator<Item = Addr> {
        self.frames.into_iter().chain([self.resume])
    }

    pub(crate) fn check(&self, code: Code<'_>, through_trampolines: bool) -> Result<(), Hold> {
        for pc in self.frames.into_iter().filter(|pc| *pc != 0) {
            if pc == TRAMPOLINE && !through_trampolines {
                return Err(Hold::Unreliable(Unreliable::Unwalkable(pc)));
            }
            let cursor = Cursor { pc, sp: 0, fp: 0, exact: true };
            if let Some(pc) = code.held_at(&Frame { cursor, found: Found::Chain }) {
                return Err(Hold::Code(pc));
            }
        }
        Ok(())
    }
}

/// A task, as others see it.
pub(crate) struct Task {
    pub(crate) addr: Addr,
    pub(crate) is_user: bool,
    /// Born when the model had begun.
    pub(crate) is_child: bool,
    held: Mutex<()>,
    /// Changes while the task holds itself.
    pub(crate) on_cpu: Tracked<bool>,
    /// Changes while the task runs, with preemption off.
    pub(crate) stack: Tracked<Stack>,
    /// It is to do something when it leaves the kernel.
    pub(crate) asked: AtomicBool,
}

impl Task {
    /// Keeps it from coming to a CPU and from leaving it.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.held)
    }

    fn new(nth: usize, is_user: bool, is_child: bool) -> Task {
        Task {
            addr: 0x1000 * (1 + nth as u64),
            is_user,
            is_child,
            held: Mutex::new(()),
            on_cpu: Tracked::new(!is_child),
            stack: Tracked::new(Stack::default()),
            asked: AtomicBool::new(false),
        }
    }
}

/// A task, as it sees itself: on the CPU of its number.
pub(crate) struct Running {
    machine: Machine,
    nth: usize,
    task: Rc<Task>,
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

impl Machine {
    /// A task that runs when the model begins.
    pub(crate) fn start(&self, nth: usize, life: impl FnOnce(&Running) + 'static) -> JoinHandle<()> {
        self.begin(Task::new(nth, true, false), nth, life)
    }

    /// As [`start`](Self::start), one that never leaves the kernel.
    pub(crate) fn start_kthread(&self, nth: usize, life: impl FnOnce(&Running) + 'static) -> JoinHandle<()> {
        self.begin(Task::new(nth, false, false), nth, life)
    }

    /// A task that sleeps in some version of the first function, and is never woken.
    pub(crate) fn add_sleeper(&self, nth: usize, version: Version) {
        let task = Task::new(nth, false, false);
        task.on_cpu.set(false);
        task.stack.set(Stack { frames: [body(version, 0), 0], ..Stack::default() });
        self.add_task(Rc::new(task));
    }

    fn begin(&self, task: Task, nth: usize, life: impl FnOnce(&Running) + 'static) -> JoinHandle<()> {
        let running = Running { machine: self.clone(), nth, task: Rc::new(task) };
        self.add_task(Rc::clone(&running.task));
        loom::thread::spawn(move || {
            if running.task.is_child {
                running.schedule(true);
            }
            life(&running);
            running.exit();
        })
    }

    /// An NMI on the CPU of a task: where it finds a function that it calls.
    pub(crate) fn nmi(&self, nth: usize, function: usize) -> Version {
        let _nmi = self.cpus[nth].nmi_enter();
        let version = self.redirect(0x1000 * (1 + nth as u64), function);
        self.execute(version);
        version
    }

    /// What the ftrace callback of a function does for a task.
    pub(crate) fn redirect(&self, task: Addr, function: usize) -> Version {
        let hooked = self.hooked(function)?;
        let mut regs = Block([FUNCTIONS[function].1 + INSN, 0, 0]);
        let universe = || self.with_universes(|universes| universes.of(task));
        let return_stack = || -> (ReturnStack<'static>, u64) { unreachable!("no return stub") };
        let call = Call { caller: 0, universe, return_stub: 0, return_stack };
        redirect::redirect::<Toy<false>>(&hooked.redirect as &FuncRedirect, &mut regs, &LAYOUT, call);
        hooked.freed.assert_not("a hook");
        let version = (0..self.modules.len()).find(|patch| text(*patch).contains(regs.0[0]));
        if let Some(newest) = self.newest.get() {
            assert!(version >= newest, "one task runs an older version than another one did");
            self.newest.set(Some(version));
        }
        version
    }

    /// Executes code of a patch.
    fn execute(&self, version: Version) {
        if let Some(patch) = version {
            assert!(self.modules[patch].initialised.get(), "a patch runs before it is initialised");
            self.modules[patch].freed.assert_not("the text of a patch");
        }
    }
}

impl Running {
    /// Calls a patched function, and is in what it was sent to.
    pub(crate) fn call(&self, function: usize) -> Version {
        let callback = || self.machine.redirect(self.task.addr, function);
        let preemptible = self.machine.wrong == Wrong::Preemptible;
        let mut version = None;
        if preemptible {
            self.with_stack(|stack| stack.frames[function] = TRAMPOLINE);
            version = callback();
        }
        self.with_stack(|stack| {
            if !preemptible {
                version = callback();
            }
            stack.frames[function] = TRAMPOLINE;
            stack.resume = body(version, function);
        });
        // The trampoline runs with preemption on.
        self.with_stack(|stack| stack.frames[function] = std::mem::take(&mut stack.resume));
        self.execute(version);
        version
    }

    /// Goes on in what it has called.
    pub(crate) fn execute(&self, version: Version) {
        self.machine.execute(version);
    }

    /// Returns from all functions.
    pub(crate) fn return_all(&self) {
        self.with_stack(|stack| *stack = Stack::default());
    }

    /// Leaves the CPU and comes back.
    pub(crate) fn sleep(&self) {
        self.schedule(false);
        self.schedule(true);
    }

    /// A system call that calls one patched function from the other, and sleeps in between.
    pub(crate) fn nested(&self, sleeps: bool) {
        let outer = self.call(0);
        if sleeps {
            self.sleep();
            self.execute(outer);
        }
        let inner = self.call(1);
        assert_eq!(outer, inner, "mixed: one function calls the other's other version");
        self.execute(outer);
        self.note(outer);
        self.return_all();
    }

    /// A system call that calls one patched function after the other, and leaves the kernel.
    pub(crate) fn sequence(&self, sleeps: bool) {
        let first = self.call(0);
        self.return_all();
        if sleeps {
            self.sleep();
            self.work_inside();
        }
        let second = self.call(1);
        self.return_all();
        assert_eq!(first, second, "mixed: one function is called after the other's other version");
        self.note(first);
        self.task_work_run(true);
    }

    /// Does inside the kernel what it was asked to do on leaving it, as io_uring and kvm do.
    pub(crate) fn work_inside(&self) {
        self.task_work_run(false);
    }

    /// Forks a task that runs on the CPU of its number.
    pub(crate) fn fork(&self, nth: usize, life: impl FnOnce(&Running) + 'static) -> JoinHandle<()> {
        // copy_process (kernel/fork.c) adds it to the list with interrupts off, then it is woken.
        let _guard = self.machine.cpus[self.nth].preempt_disable();
        self.machine.begin(Task::new(nth, true, true), nth, life)
    }

    /// As `klp_leaves` in `kmod/shim/leave.c`, if it was asked to.
    fn task_work_run(&self, at_border: bool) {
        if !self.task.asked.swap(false, Ordering::Relaxed) {
            return;
        }
        let is_at_border = at_border || self.machine.wrong == Wrong::LeavesAnywhere;
        let (round, waits) = {
            let _guard = self.machine.cpus[self.nth].preempt_disable();
            let round = self.machine.round();
            let waits = self.machine.is_gathering();
            let leave = |universes: Universes<'_>| universes.leave(self.task.addr, waits, || is_at_border);
            (round, self.machine.with_universes(leave))
        };
        saw(if waits { "waits at the border" } else { "does its work" });
        if waits && self.machine.wrong != Wrong::WaitsNot {
            self.schedule(false);
            self.machine.wait_at_border(round);
            self.schedule(true);
        }
    }

    fn note(&self, version: Version) {
        saw(match (self.task.is_child, version) {
            (false, None) => "runs the original",
            (false, Some(0)) => "runs the patch",
            (false, Some(_)) => "runs the second patch",
            (true, None) => "is born to run the original",
            (true, Some(_)) => "is born to run the patch",
        });
    }

    /// Comes to the CPU, or leaves it.
    fn schedule(&self, on_cpu: bool) {
        let _guard = self.machine.cpus[self.nth].preempt_disable();
        let _held = self.task.hold();
        self.task.on_cpu.set(on_cpu);
    }

    fn exit(&self) {
        self.with_stack(|stack| stack.exited = true);
        self.schedule(false);
    }

    /// Changes the stack while nobody may look at it.
    fn with_stack(&self, change: impl FnOnce(&mut Stack)) {
        let _guard = self.machine.cpus[self.nth].preempt_disable();
        let mut stack = self.task.stack.get();
        change(&mut stack);
        self.task.stack.set(stack);
    }
}
