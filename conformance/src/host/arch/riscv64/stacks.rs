// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of riscv64 kernels.
//!
//! Sources: psABI, "Frame Pointer Convention"; `arch/riscv/include/asm/ptrace.h`; `arch/riscv/kernel/entry.S`,
//! `handle_exception`, `__switch_to`, `ret_from_fork`, `call_on_irq_stack`; `arch/riscv/kernel/process.c`, copy_thread.

use klp_core::unwind::{Code, Cursor, Found, Frame, Machine, Memory, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::host::stack::{Draft, Drawn, Function, Kind, Map, STACK_SIZE, Sample, Stacks, little_endian};
use crate::image::Image;

/// What the suite is told.
pub(super) const STACKS: Stacks = Stacks {
    kinds: &[
        Kind { name: "asleep in a system call", section: "2", draw: asleep },
        Kind { name: "asleep in a function with variable arguments", section: "2", draw: variable_arguments },
        Kind { name: "kernel thread", section: "4.1", draw: thread },
        Kind { name: "new task", section: "4.1", draw: new_task::<0> },
        Kind { name: "new kernel thread", section: "4.1", draw: new_task::<THREAD_FN> },
        Kind { name: "the task that booted", section: "4.1", draw: booted },
        Kind { name: "called by generated code", section: "4.2", draw: generated },
        Kind { name: "on the interrupt stack", section: "4.3", draw: on_interrupt_stack },
        Kind { name: "interrupted", section: "4.3", draw: interrupted::<MIDDLE> },
        Kind { name: "at a first instruction", section: "4.3", draw: at_entry::<0> },
        Kind { name: "at the second half of a patch site", section: "4.5", draw: at_entry::<4> },
        Kind { name: "before the frame pointer is set", section: "4.5", draw: at_entry::<12> },
        Kind { name: "at a return", section: "4.6", draw: at_entry::<RETURN> },
        Kind { name: "behind the last instruction", section: "4.6", draw: noreturn },
    ],
    reasons: &[
        "caller-in-register",
        "could-not-read-stack",
        "did-not-advance",
        "exception",
        "misaligned",
        "not-after-call",
        "not-text",
        "return-left",
        "return-lost",
        "unwalkable",
        "wrong-stack",
    ],
    return_address: -8,
    is_caller,
    is_last,
};

const MAP: Map = Map { text: 0xffff_ffff_8001_0000, stack: 0xff20_0000_0001_0000 };

const FUNCTION: Function = Function { code: &CODE, after_call: 0x20, middle: MIDDLE };
/// From a function's start to an instruction behind its prologue, and to its return.
const MIDDLE: u64 = 0x28;
const RETURN: u64 = 0x3c;
const CODE: [u8; 0x100] = {
    const NOP: u32 = 0x0000_0013;
    const BEQZ: u32 = 0x0005_0463;
    const JAL: u32 = 0x0000_00ef;
    let mut insns = [NOP; 64];
    insns[0] = 0x0001_2297; // auipc t0 (ftrace_caller)
    insns[1] = 0x8a42_82e7; // jalr t0,…(t0)
    insns[2] = 0xe022_1101; // c.addi sp,-32; c.sdsp s0,0(sp)
    insns[3] = 0x1000_e406; // c.sdsp ra,8(sp); c.addi4spn s0,sp,32
    insns[7] = JAL;
    insns[11] = BEQZ;
    insns[13] = 0x6402_60a2; // c.ldsp ra,8(sp); c.ldsp s0,0(sp)
    insns[14] = 0x0001_6105; // c.addi16sp sp,32; c.nop
    insns[15] = 0x0000_8067; // ret
    insns[63] = JAL;
    little_endian(insns)
};

const ENTRY_CALL: Addr = MAP.entry() + FUNCTION.after_call;
/// `ret_from_fork`, which begins with a call, and behind its call of a thread's function.
const FORKED: Addr = MAP.entry() + FUNCTION.after_call - 4;
const THREAD: Addr = MAP.entry() + 0x100;
const THREAD_FN: u64 = MAP.function(3);
/// Behind a call in text that was discarded.
const BOOT: Addr = MAP.text - 0x1_0000;

/// `struct pt_regs`
const PT_REGS: u64 = 288;
const EPC: u64 = 0;
const RA: u64 = 8;
const SP: u64 = 16;
const S0: u64 = 64;
const STATUS: u64 = 256;
const SR_SPP: u64 = 0x100;

/// A task, as it runs.
struct Task {
    draft: Draft,
    sp: Addr,
    /// s0
    fp: u64,
    /// The address behind the next call.
    pc: Addr,
    /// Whether s0 leads to a frame.
    linked: bool,
}

impl Task {
    fn new() -> Task {
        let mut draft = Draft::new(Endian::Little, MAP, &FUNCTION);
        let block = MAP.stack + STACK_SIZE - PT_REGS;
        draft.registers(block, PT_REGS);
        draft.image.bottom = block;
        // s0 is user mode's stack pointer.
        Task { draft, sp: block, fp: 0x3f_ffff_f4a0, pc: ENTRY_CALL, linked: false }
    }

    fn thread() -> Task {
        Task { fp: THREAD_FN, pc: THREAD, ..Task::new() }
    }

    fn interrupt(&mut self, pc: Addr) {
        self.draft.interrupted(pc);
        let block = self.sp - PT_REGS;
        self.draft.registers(block, PT_REGS);
        self.draft.image.set(block + EPC, pc);
        self.draft.image.set(block + RA, MAP.function(7) + FUNCTION.after_call);
        self.draft.image.set(block + STATUS, SR_SPP);
        self.draft.link(block + S0, self.fp);
        self.draft.link(block + SP, self.sp);
        // Entry code has the interrupted stack pointer in s0.
        (self.fp, self.sp, self.pc) = (self.sp, block, ENTRY_CALL);
    }

    /// Calls the `i`th function, which saves `variable` bytes of variable arguments above its frame record, and will go on to
    /// call `behind_call` bytes from its start.
    fn call_with(&mut self, i: usize, behind_call: u64, variable: u64) {
        let fp = self.sp - variable;
        self.draft.called(self.pc, fp - 8);
        if self.linked {
            self.draft.link(fp - 16, self.fp);
        } else {
            self.draft.image.set(fp - 16, self.fp);
        }
        self.sp = fp - 32 - 16 * (i as u64 % 3);
        (self.fp, self.linked) = (fp, true);
        self.pc = MAP.function(i) + behind_call;
    }
}

impl Drawn for Task {
    const AFTER_CALL: u64 = FUNCTION.after_call;

    fn draft(self) -> Draft {
        self.draft
    }

    fn call_from(&mut self, i: usize, behind_call: u64) {
        self.call_with(i, behind_call, 0);
    }

    fn switch_out(&mut self) {
        let saved = Saved { sp: self.sp, pc: self.pc, fp: self.fp };
        self.draft.starts(Start::SwitchedOut(saved), self.pc, None);
    }
}

fn asleep(depth: usize) -> Sample {
    Task::new().calls(depth).asleep()
}

fn variable_arguments(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    task.call_with(depth, FUNCTION.after_call, 64);
    task.call(depth + 1);
    task.asleep()
}

fn thread(depth: usize) -> Sample {
    Task::thread().calls(depth).asleep()
}

fn new_task<const S0: u64>(_: usize) -> Sample {
    Task { pc: FORKED, fp: S0, ..Task::new() }.asleep()
}

/// `start_kernel` is in text that is discarded, and what it was entered from is none.
fn booted(depth: usize) -> Sample {
    let mut task = Task::new();
    task.draft.image.add_text(BOOT, FUNCTION.code, Code::Discarded);
    task.sp -= 32;
    task.draft.image.set(task.sp + 16, 0);
    task.draft.image.set(task.sp + 24, 0x8020_1074);
    (task.fp, task.linked, task.pc) = (task.sp + 32, true, BOOT + FUNCTION.after_call);
    task.calls(depth).asleep()
}

fn generated(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    task.call(depth);
    task.pc = MAP.generated() + FUNCTION.after_call;
    task.call(depth + 1);
    let (pc, generated) = (task.pc, MAP.generated() + FUNCTION.after_call);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Unwalkable(generated))
}

/// What handles soft interrupts is called on another stack; `call_on_irq_stack` has its record on the old one.
fn on_interrupt_stack(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    task.call(depth);
    task.sp = task.draft.add_stack(0);
    task.call(depth + 1);
    task.call(depth + 2);
    let cursor = Cursor { pc: task.pc, sp: task.sp, fp: task.fp, exact: false };
    task.draft.starts(Start::At(cursor), task.pc, None);
    task.draft.reliable()
}

fn interrupted<const MIDDLE: u64>(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    let middle = MAP.function(depth - 1) + MIDDLE;
    task.interrupt(middle);
    task.call(depth);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(middle, Unreliable::Exception(middle))
}

/// Interrupted where the return address is in ra.
fn at_entry<const OFFSET: u64>(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    let pc = MAP.function(depth) + OFFSET;
    // Its caller's frame cannot be found: it is in a register.
    task.interrupt(pc);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::CallerInRegister(pc))
}

fn noreturn(depth: usize) -> Sample {
    Task::new().calls(depth).noreturn(depth)
}

/// The frame record; no list is reliable that has an exception in it.
fn is_caller(image: &Image, callee: &Cursor, caller: &Frame) -> bool {
    let (record, word) = (callee.fp.wrapping_sub(16), image.word(callee.fp.wrapping_sub(8)));
    let (Some(fp), Some(word)) = (image.word(record), word) else { return false };
    let returns = match caller.found {
        Found::Kept(_) => MAP.is_trampoline(word),
        Found::Chain => word == caller.cursor.pc,
        _ => false,
    };
    returns && caller.cursor.fp == fp && caller.cursor.sp == callee.fp
}

/// Entry code with nothing above it, or boot code that is gone and has nothing above its frame.
fn is_last(image: &Image, last: &Cursor) -> bool {
    match image.code(last.in_function()) {
        Code::Entry => last.sp == image.bottom,
        Code::Discarded => last.fp == image.bottom,
        _ => false,
    }
}
