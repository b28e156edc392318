// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The return stack, interrupted between any two of its memory accesses.
//!
//! The source that ships is compiled here against words that can be interrupted: for this file, `core` is this crate,
//! and `core::sync::atomic::AtomicU64` is [`AtomicU64`](sync::atomic::AtomicU64) below.

extern crate self as core;

use std::array;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use klp_core::{Addr, ftrace};

use ftrace::ReturnFrame;
use return_stack::{COUNT, FRAME_WORDS, FRAMES, MAX_WORDS, OWNER, RED_ZONE, ReturnStack};
use sync::atomic::{AtomicU64, Ordering};

#[path = "../src/return_stack.rs"]
pub mod return_stack;

/// What the return stack uses of `core`.
pub mod sync {
    /// Words that can be interrupted.
    pub mod atomic {
        use std::cell::Cell;
        pub use std::sync::atomic::{Ordering, compiler_fence};

        /// A word of the one task there is; an interrupt may come before each access.
        #[derive(Debug)]
        pub struct AtomicU64(Cell<u64>);

        impl AtomicU64 {
            /// A word.
            pub fn new(value: u64) -> AtomicU64 {
                AtomicU64(Cell::new(value))
            }

            /// Reads it.
            pub fn load(&self, _: Ordering) -> u64 {
                crate::before_access();
                self.0.get()
            }

            /// Writes it.
            pub fn store(&self, value: u64, _: Ordering) {
                crate::before_access();
                self.0.set(value);
            }
        }
    }
}

type Handler = Box<dyn FnOnce()>;

thread_local! {
    /// Accesses until the interrupt comes, and what it does.
    static PENDING: RefCell<Option<(usize, Handler)>> = const { RefCell::new(None) };
}

/// Runs `code`, and `handler` before its access number `at`, counted from 0. False if there are not as many.
fn interrupted(at: usize, handler: impl FnOnce() + 'static, code: impl FnOnce()) -> bool {
    let outer = PENDING.replace(Some((at, Box::new(handler))));
    assert!(outer.is_none(), "one level at a time");
    code();
    PENDING.take().is_none()
}

fn before_access() {
    let due = PENDING.with_borrow_mut(|pending| match pending {
        Some((0, _)) => pending.take(),
        Some((left, _)) => {
            *left -= 1;
            None
        }
        None => None,
    });
    if let Some((_, handler)) = due {
        handler();
    }
}

const STACK: Addr = 0xc000_0000_0810_0000;
const STACK_SIZE: u64 = 16 * 1024;
const INTERRUPT_STACK: Addr = 0xc000_0000_0020_0000;
const MAGIC: u64 = 0x57ac_6e9d;
const OWNER_VALUE: u64 = 0xfeed;
const TOC: u64 = 0x70c;
/// What others left on the stack: as an owner a stranger, as a count a stack that is more than full.
const GARBAGE: u64 = 0x5747_4552;

/// The task, as what runs on it sees it.
#[derive(Clone)]
struct Task {
    words: Rc<Vec<AtomicU64>>,
    refused: Rc<Cell<u32>>,
}

impl Task {
    /// A task whose stack another one used before.
    fn new() -> Task {
        let words = (0..MAX_WORDS).map(|index| AtomicU64::new(if index == 0 { MAGIC } else { GARBAGE }));
        Task { words: Rc::new(words.collect()), refused: Rc::default() }
    }

    /// A task that has room for so many more frames.
    fn with_room(room: usize) -> Task {
        let task = Task::new();
        task.words[OWNER].store(OWNER_VALUE, Ordering::Relaxed);
        let frames = (MAX_WORDS - FRAMES) / FRAME_WORDS - room;
        task.words[COUNT].store(frames as u64, Ordering::Relaxed);
        task
    }

    fn stack(&self) -> ReturnStack<'_> {
        ReturnStack::claim(&self.words, STACK, OWNER_VALUE)
    }

    fn frames(&self) -> usize {
        self.stack().count()
    }

    /// A call that is redirected: the callback, the stub before `replacement`, `replacement`, the stub after it.
    fn call(&self, sp: u64, replacement: impl FnOnce()) {
        let (ra, target) = (sp ^ 0xaaaa, sp ^ 0xbbbb);
        if self.stack().push(ReturnFrame { ra: 0, sp, context: target }, STACK_SIZE).is_err() {
            self.refused.set(self.refused.get() + 1);
            replacement();
            return;
        }
        assert_eq!(self.complete(sp, ra), target, "the stub enters the call's own replacement");
        replacement();
        let frame = self.stack().pop(sp).expect("the call's frame");
        assert_eq!(frame, ReturnFrame { ra, sp, context: TOC }, "the return goes wrong");
    }

    /// A call that is redirected and never returns.
    fn lose(&self, sp: u64) {
        if self.stack().push(ReturnFrame { ra: 0, sp, context: sp }, STACK_SIZE).is_err() {
            self.refused.set(self.refused.get() + 1);
            return;
        }
        self.complete(sp, 0xdead);
    }

    /// What the return stub's assembly does before it enters the replacement: the same words in the same order.
    fn complete(&self, sp: u64, ra: Addr) -> Addr {
        let load = |index: usize| self.words[index].load(Ordering::Relaxed);
        let count = usize::try_from(load(COUNT)).expect("small");
        let newest = FRAMES + (count - 1) * FRAME_WORDS;
        assert_eq!(load(newest + 1), sp, "the newest frame is the call's");
        self.words[newest].store(ra, Ordering::Relaxed);
        let target = load(newest + 2);
        self.words[newest + 2].store(TOC, Ordering::Relaxed);
        target
    }

    /// The task's own calls: nested, a tail call with the same stack pointer, some that never return.
    fn work(&self) {
        self.call(STACK + 0x3000, || {
            self.call(STACK + 0x2f00, || self.call(STACK + 0x2f00, || {}));
            self.lose(STACK + 0x2e00);
            self.call(STACK + 0x2f00, || self.lose(STACK + 0x2e80));
        });
        self.call(STACK + 0x3080, || {});
    }

    /// What an interrupt calls, from this stack pointer down.
    fn handle(&self, sp: u64) {
        self.call(sp, || {
            self.call(sp - 0x40, || self.lose(sp - 0x80));
            self.lose(sp - 0x40);
        });
    }

    fn assert_idle(&self, frames: usize) {
        assert_eq!(self.frames(), frames, "the stack is as full as it was");
        assert_eq!(self.words[0].load(Ordering::Relaxed), MAGIC, "the end of the machine stack is untouched");
    }
}

/// Where interrupts and NMIs find their stack: on top of the task's, or elsewhere.
const PLACES: [(u64, u64); 3] = [
    (STACK + 0x2000, STACK + 0x1c00),
    (INTERRUPT_STACK + 0x3000, INTERRUPT_STACK + 0x2800),
    (INTERRUPT_STACK + 0x3000, STACK + 0x1c00),
];

/// Interrupts `work` before each access, and each of these interrupts before each of its own accesses.
fn at_every_access(task: impl Fn() -> Task) -> usize {
    let frames = task().frames();
    let mut runs = 0;
    for (interrupt_sp, nmi_sp) in PLACES {
        for at in 0.. {
            let mut came = false;
            for nmi_at in 0.. {
                let task = task();
                let (interrupt, nmi) = (task.clone(), task.clone());
                let nmi_came = Rc::new(Cell::new(false));
                let nmi_came_too = Rc::clone(&nmi_came);
                let handler = move || {
                    let before = interrupt.frames();
                    let handle = || interrupt.handle(interrupt_sp);
                    nmi_came_too.set(interrupted(nmi_at, move || nmi.handle(nmi_sp), handle));
                    assert_eq!(interrupt.frames(), before, "an interrupt leaves no frame");
                };
                came = interrupted(at, handler, || task.work());
                task.assert_idle(frames);
                runs += 1;
                if !nmi_came.get() {
                    break;
                }
            }
            if !came {
                break;
            }
        }
    }
    runs
}

#[test]
fn calls_return_where_they_came_from_whenever_they_are_interrupted() {
    let refused = Rc::new(Cell::new(0));
    let runs = at_every_access(|| Task { refused: Rc::clone(&refused), ..Task::new() });
    assert_eq!(refused.get(), 0, "there is room for all");
    assert!(runs > PLACES.len() * 50 * 50, "{runs} interleavings are not all");
}

#[test]
fn the_same_holds_where_the_stack_fills_up() {
    // Two calls of the task's and two lost ones; in the interrupt and in the NMI two and a lost one.
    const DEEPEST: usize = 4 + 3 + 3;
    let refused = Rc::new(Cell::new(0));
    for room in 0..=DEEPEST {
        at_every_access(|| Task { refused: Rc::clone(&refused), ..Task::with_room(room) });
        assert_eq!(refused.replace(0) > 0, room < DEEPEST, "with room for {room}");
    }
}

#[test]
fn an_interrupt_may_be_the_first_to_claim_the_stack() {
    let task = Task::new();
    for at in 0..4 {
        let task = Task::new();
        let interrupt = task.clone();
        interrupted(
            at,
            move || interrupt.handle(INTERRUPT_STACK + 0x3000),
            || {
                task.stack();
            },
        );
        task.assert_idle(0);
        task.work();
        task.assert_idle(0);
        assert_eq!(task.refused.get(), 0, "what others left takes no room");
    }
    assert_eq!(task.words[OWNER].load(Ordering::Relaxed), GARBAGE, "nobody claimed this one");
}

#[test]
fn an_interrupt_near_the_machine_stack_is_refused_and_the_task_is_not() {
    let task = Task::new();
    let lowest = STACK + 8 * (FRAMES + FRAME_WORDS) as u64 + RED_ZONE;
    task.call(STACK + 0x3000, || {
        task.call(lowest, || {});
        assert_eq!(task.refused.get(), 1, "the second frame would end too near");
    });
    task.assert_idle(0);
}
