// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of s390 kernels: packed frames with back chains.
//!
//! Sources: gcc manual, "S/390 and zSeries Options"; ELF ABI s390x Supplement, "The Stack Frame";
//! `arch/s390/include/asm/stacktrace.h`, `struct stack_frame`, `call_on_stack`; `arch/s390/include/asm/ptrace.h`;
//! `arch/s390/kernel/entry.S`; `arch/s390/kernel/process.c`, copy_thread.

use klp_core::unwind::{Cursor, Found, Frame, Memory, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::host::stack::{Draft, Drawn, Function, Kind, Map, STACK_SIZE, Sample, Stacks};
use crate::image::Image;

/// What the suite is told.
pub(super) const STACKS: Stacks = Stacks {
    kinds: &[
        Kind { name: "asleep in a system call", section: "2", draw: asleep },
        Kind { name: "kernel thread", section: "4.1", draw: thread },
        Kind { name: "new task", section: "4.1", draw: new_task },
        Kind { name: "called by generated code", section: "4.2", draw: generated },
        Kind { name: "interrupted", section: "4.3", draw: interrupted },
        Kind { name: "on the async stack", section: "4.3", draw: on_inner_stacks::<1> },
        Kind {
            name: "on the nodat stack, called from the async stack",
            section: "4.3",
            draw: on_inner_stacks::<2>,
        },
        Kind { name: "behind the last instruction", section: "4.6", draw: noreturn },
    ],
    reasons: &[
        "could-not-read-stack",
        "did-not-advance",
        "exception",
        "misaligned",
        "not-after-call",
        "not-the-bottom",
        "not-text",
        "return-left",
        "return-lost",
        "unwalkable",
        "wrong-stack",
    ],
    return_address: GPR14.cast_signed(),
    is_caller,
    is_last,
};

const MAP: Map = Map { text: 0x3ff_fe00_0000, stack: 0x380_0001_0000 };

const FUNCTION: Function = Function { code: &CODE, after_call: 0x20, middle: 0x28 };
const CODE: [u8; 0x100] = {
    let mut code = [0x07; 0x100]; // nopr %r7
    let calls = [0x1a, 0xfa];
    let mut i = 0;
    while i < calls.len() {
        // brasl %r14,.+0x1000
        code[calls[i]] = 0xc0;
        code[calls[i] + 1] = 0xe5;
        code[calls[i] + 2] = 0;
        code[calls[i] + 3] = 0;
        code[calls[i] + 4] = 0x08;
        code[calls[i] + 5] = 0;
        i += 1;
    }
    code
};

const ENTRY_CALL: Addr = MAP.entry() + FUNCTION.after_call;
/// `ret_from_fork`, and behind the last call in its text.
const FORKED: Addr = MAP.entry() + 0x80;
const THREAD: Addr = MAP.entry() + 0x100;

/// `struct stack_frame`
const GPR6: u64 = 72;
const GPR14: u64 = GPR6 + 8 * 8;
const GPR15: u64 = GPR6 + 8 * 9;
const BACK_CHAIN: u64 = 152;
const OVERHEAD: u64 = 160;
/// `struct pt_regs`
const PT_REGS: u64 = 200;
const PSW_ADDR: u64 = 16;
const R15: u64 = 144;

/// A task, as it runs.
struct Task {
    draft: Draft,
    sp: Addr,
    /// The address behind the next call.
    pc: Addr,
}

impl Task {
    fn new(pc: Addr) -> Task {
        let mut draft = Draft::new(Endian::Big, MAP, &FUNCTION);
        let block = MAP.stack + STACK_SIZE - PT_REGS;
        draft.image.bottom = block;
        draft.image.set(block - OVERHEAD + BACK_CHAIN, 0);
        Task { draft, sp: block - OVERHEAD, pc }
    }

    fn interrupt(&mut self, pc: Addr) {
        self.draft.interrupted(pc);
        let block = self.sp - PT_REGS;
        self.draft.registers(block, PT_REGS);
        self.draft.image.set(block + PSW_ADDR, pc);
        self.draft.link(block + R15, self.sp);
        self.sp = block - OVERHEAD;
        self.draft.image.set(self.sp + BACK_CHAIN, 0);
        self.pc = ENTRY_CALL;
    }
}

impl Drawn for Task {
    const AFTER_CALL: u64 = FUNCTION.after_call;

    fn draft(self) -> Draft {
        self.draft
    }

    /// Calls the `i`th function, which will go on to call `behind_call` bytes from its start. It saves registers in its
    /// caller's frame.
    fn call_from(&mut self, i: usize, behind_call: u64) {
        self.draft.called(self.pc, self.sp + GPR14);
        self.draft.image.set(self.sp + GPR15, self.sp);
        let sp = self.sp - 24 - 8 * i as u64;
        self.draft.link(sp + BACK_CHAIN, self.sp);
        self.sp = sp;
        self.pc = MAP.function(i) + behind_call;
    }

    /// `__switch_to_asm` saves registers in the frame of its caller.
    fn switch_out(&mut self) {
        let slot = self.sp + GPR14;
        self.draft.image.set(slot, self.pc);
        self.draft.image.set(self.sp + GPR15, self.sp);
        let start = Start::SwitchedOut(Saved { sp: self.sp, pc: 0, fp: 0 });
        self.draft.starts(start, self.pc, Some(slot));
    }
}

fn asleep(depth: usize) -> Sample {
    Task::new(ENTRY_CALL).calls(depth).asleep()
}

fn thread(depth: usize) -> Sample {
    Task::new(THREAD).calls(depth).asleep()
}

fn new_task(_: usize) -> Sample {
    Task::new(FORKED).asleep()
}

fn generated(depth: usize) -> Sample {
    let mut task = Task::new(ENTRY_CALL).calls(depth);
    task.call(depth);
    task.pc = MAP.generated() + FUNCTION.after_call;
    task.call(depth + 1);
    let (pc, generated) = (task.pc, MAP.generated() + FUNCTION.after_call);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Unwalkable(generated))
}

fn interrupted(depth: usize) -> Sample {
    let mut task = Task::new(ENTRY_CALL).calls(depth);
    let middle = MAP.function(depth - 1) + FUNCTION.middle;
    task.interrupt(middle);
    task.call(depth);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(ENTRY_CALL, Unreliable::Exception(middle))
}

/// `call_on_stack`: the new stack's first frame leads back to the old stack's last.
fn on_inner_stacks<const STACKS: usize>(depth: usize) -> Sample {
    let mut task = Task::new(ENTRY_CALL).calls(depth);
    for i in 0..STACKS {
        let top = task.draft.add_stack(i);
        // The caller is reported once: it is the same function on both stacks.
        let old = task.sp;
        task.sp = top - OVERHEAD;
        task.draft.link(task.sp + BACK_CHAIN, old);
        task.draft.called(task.pc, old + GPR14);
        task.draft.image.set(old + GPR15, old);
        task.pc = MAP.function(depth) + FUNCTION.after_call;
        task.call(depth + 1 + i);
    }
    let cursor = Cursor { pc: task.pc, sp: task.sp, fp: 0, exact: false };
    task.draft.starts(Start::At(cursor), task.pc, None);
    task.draft.reliable()
}

fn noreturn(depth: usize) -> Sample {
    Task::new(ENTRY_CALL).calls(depth).noreturn(depth)
}

/// The back chain, and r14 where the callee saved it; no list is reliable that has an exception in it.
fn is_caller(image: &Image, callee: &Cursor, caller: &Frame) -> bool {
    let sp = caller.cursor.sp;
    let returns = image.word(sp + GPR14).is_some_and(|word| match caller.found {
        Found::Kept(_) => MAP.is_trampoline(word),
        Found::Chain => word == caller.cursor.pc,
        _ => false,
    });
    returns && image.word(callee.sp + BACK_CHAIN) == Some(sp)
}

fn is_last(image: &Image, last: &Cursor) -> bool {
    last.sp + OVERHEAD == image.bottom && image.word(last.sp + BACK_CHAIN) == Some(0)
}
