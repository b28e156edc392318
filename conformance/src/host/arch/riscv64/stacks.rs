// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of riscv64 kernels: frame pointers, and entry code that makes a register block and no frame.
//!
//! Sources: what gcc makes of calls with `-fno-omit-frame-pointer` (psABI, "Frame Pointer Convention"); `struct pt_regs` in
//! `arch/riscv/include/asm/ptrace.h`; `arch/riscv/kernel/entry.S`, `handle_exception`, `ret_from_fork`, `call_on_irq_stack`,
//! `__switch_to`; `arch/riscv/kernel/head.S`, `_start_kernel`; `copy_thread` in `arch/riscv/kernel/process.c`.

use klp_core::unwind::{Code, Cursor, Found, Frame, Machine as _, Memory, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::host::stack::{Draft, Drawn, Function, Kind, Map, STACK_SIZE, Sample, Stacks, little_endian};
use crate::image::Image;

/// What the suite is told.
pub(super) const STACKS: Stacks = Stacks {
    kinds: &[
        Kind { name: "asleep in a system call", section: "2", draw: asleep },
        Kind { name: "asleep behind functions with variable arguments", section: "2", draw: variable },
        Kind { name: "kernel thread", section: "4.1", draw: thread },
        Kind { name: "new task", section: "4.1", draw: new_task::<0> },
        Kind { name: "new kernel thread", section: "4.1", draw: new_task::<{ MAP.function(15) }> },
        Kind { name: "the task that booted", section: "4.1", draw: booted },
        Kind { name: "called by generated code", section: "4.2", draw: generated },
        Kind { name: "on the interrupt stack", section: "4.3", draw: on_interrupt_stack },
        Kind { name: "interrupted", section: "4.3", draw: interrupted },
        Kind { name: "interrupted, on the interrupt stack", section: "4.3", draw: interrupted_away },
        Kind { name: "at a first instruction", section: "4.3", draw: at::<0> },
        Kind { name: "at the call of a patch site", section: "4.5", draw: at::<4> },
        Kind { name: "before the frame pointer is set", section: "4.5", draw: at::<12> },
        Kind { name: "at a return", section: "4.6", draw: at::<RETURN> },
        Kind { name: "in a leaf function", section: "4.6", draw: leaf },
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
    return_address: -8,
    is_caller,
    is_last,
};

const MAP: Map = Map { text: 0xffff_ffff_8001_0000, stack: 0xffff_ffc6_0080_0000 };

/// Where text was that is discarded.
const BOOT: Addr = MAP.text - 0x1_0000;

const FUNCTION: Function = Function { code: &CODE, after_call: 0x20, middle: 0x28 };
/// From a function's start to its return.
const RETURN: u64 = 0x38;
/// As gcc 12 and the kernel's tracer make them, without compressed instructions but for the return.
const CODE: [u8; 0x100] = {
    const NOP: u32 = 0x0000_0013;
    const AUIPC_RA: u32 = 0x0000_0097;
    const JALR_RA: u32 = 0x0000_80e7;
    let mut insns = [NOP; 64];
    insns[0] = 0x0000_0297; // auipc t0,0
    insns[1] = 0x0002_82e7; // jalr t0,t0
    insns[2] = 0xfd01_0113; // addi sp,sp,-48
    insns[3] = 0x0211_3423; // sd ra,40(sp)
    insns[4] = 0x0281_3023; // sd s0,32(sp)
    insns[5] = 0x0301_0413; // addi s0,sp,48
    insns[6] = AUIPC_RA;
    insns[7] = JALR_RA;
    insns[11] = 0x0281_3083; // ld ra,40(sp)
    insns[12] = 0x0201_3403; // ld s0,32(sp)
    insns[13] = 0x0301_0113; // addi sp,sp,48
    insns[14] = 0x0001_8082; // ret; nop
    insns[62] = AUIPC_RA;
    insns[63] = JALR_RA;
    little_endian(insns)
};

const ENTRY_CALL: Addr = MAP.entry() + FUNCTION.after_call;
/// `ret_from_fork`, in entry code, before its first instruction.
const FORKED: Addr = MAP.entry();

/// `struct pt_regs`
const PT_REGS: u64 = 288;
const EPC: u64 = 0;
const SP: u64 = 16;
const S0: u64 = 64;

/// A task, as it runs.
struct Task {
    draft: Draft,
    sp: Addr,
    /// s0
    fp: u64,
    /// The address behind the next call.
    pc: Addr,
    /// Functions have room above the two words, for arguments that va_arg() looks at.
    variable: bool,
}

impl Task {
    fn new() -> Task {
        let mut draft = Draft::new(Endian::Little, MAP, &FUNCTION);
        let block = MAP.stack + STACK_SIZE - PT_REGS;
        draft.registers(block, PT_REGS);
        draft.image.bottom = block;
        // What user mode has in its stack pointer, entry code has in s0.
        let user_sp = 0x3f_ff9a_bcd0;
        draft.image.set(block + SP, user_sp);
        Task { draft, sp: block, fp: user_sp, pc: ENTRY_CALL, variable: false }
    }

    fn interrupt(&mut self, pc: Addr) {
        self.draft.interrupted(pc);
        let block = self.sp - PT_REGS;
        self.draft.registers(block, PT_REGS);
        self.draft.image.set(block + EPC, pc);
        self.draft.link(block + SP, self.sp);
        self.draft.link(block + S0, self.fp);
        self.fp = self.sp;
        (self.sp, self.pc) = (block, ENTRY_CALL);
    }

    /// Goes on to another stack.
    fn on_stack(&mut self, i: usize) {
        self.sp = self.draft.add_stack(i);
    }
}

impl Drawn for Task {
    const AFTER_CALL: u64 = FUNCTION.after_call;

    fn draft(self) -> Draft {
        self.draft
    }

    /// Calls the `i`th function, which will go on to call `behind_call` bytes from its start.
    fn call_from(&mut self, i: usize, behind_call: u64) {
        let above = if self.variable { 16 * (i as u64 % 5) } else { 0 };
        let fp = self.sp - above;
        self.draft.called(self.pc, fp - 8);
        // A frame of entry code has none that its own leads to.
        let of_entry =
            self.pc == ENTRY_CALL && !self.draft.image.stacks.iter().any(|it| it.contains(self.fp));
        if of_entry {
            self.draft.image.set(fp - 16, self.fp)
        } else {
            self.draft.link(fp - 16, self.fp)
        }
        self.fp = fp;
        self.sp = fp - 32 - 16 * i as u64;
        self.pc = MAP.function(i) + behind_call;
    }

    fn switch_out(&mut self) {
        let saved = Saved { sp: self.sp, pc: self.pc, fp: self.fp };
        self.draft.starts(Start::SwitchedOut(saved), self.pc, None);
    }
}

fn asleep(depth: usize) -> Sample {
    Task::new().calls(depth).asleep()
}

/// `start_kernel` is in text that is discarded, called by head text, which is entry code.
fn booted(depth: usize) -> Sample {
    let mut task = Task::new();
    task.draft.image.add_text(BOOT, FUNCTION.code, Code::Discarded);
    task.call(0);
    task.pc = BOOT + FUNCTION.after_call;
    task.calls(depth).asleep()
}

fn variable(depth: usize) -> Sample {
    let mut task = Task::new();
    // Entry code calls none of these.
    task.call(0);
    task.variable = true;
    for i in 0..depth {
        task.call(1 + i);
    }
    task.asleep()
}

/// `ret_from_fork` has the thread's function in s0. So do idle tasks begin, whatever is in s0 there.
fn thread(depth: usize) -> Sample {
    Task { fp: MAP.function(15), ..Task::new() }.calls(depth).asleep()
}

fn new_task<const S0: u64>(_: usize) -> Sample {
    Task { pc: FORKED, fp: S0, ..Task::new() }.asleep()
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

/// What handles soft interrupts is called on another stack; `call_on_irq_stack` has its frame on the old one.
fn on_interrupt_stack(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    task.call(depth);
    task.on_stack(0);
    task.call(depth + 1);
    task.call(depth + 2);
    let cursor = Cursor { pc: task.pc, sp: task.sp, fp: task.fp, exact: false };
    task.draft.starts(Start::At(cursor), task.pc, None);
    task.draft.reliable()
}

fn interrupted(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    let middle = MAP.function(depth - 1) + FUNCTION.middle;
    task.interrupt(middle);
    task.call(depth);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(middle, Unreliable::Exception(middle))
}

/// The handler has gone on to the interrupt stack (`do_irq`), and was interrupted there by an exception.
fn interrupted_away(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    task.interrupt(MAP.function(depth - 1) + FUNCTION.middle);
    task.call(depth);
    task.on_stack(0);
    task.call(depth + 1);
    let pc = MAP.function(depth + 1) + FUNCTION.middle;
    task.interrupt(pc);
    task.call(depth + 2);
    let cursor = Cursor { pc: task.pc, sp: task.sp, fp: task.fp, exact: false };
    task.draft.starts(Start::At(cursor), task.pc, None);
    task.draft.unreliable_behind(pc, Unreliable::Exception(pc))
}

/// Interrupted where the frame is not made yet, or given up: the return address is in ra, and its caller in no list.
fn at<const OFFSET: u64>(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    let pc = MAP.function(depth) + OFFSET;
    task.interrupt(pc);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Exception(pc))
}

/// Interrupted in a function that calls none: it has saved s0 alone, where others have ra.
fn leaf(depth: usize) -> Sample {
    let mut task = Task::new().calls(depth);
    task.draft.link(task.sp - 8, task.fp);
    task.fp = task.sp;
    task.sp -= 16;
    let pc = MAP.function(depth) + FUNCTION.middle;
    task.interrupt(pc);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Exception(pc))
}

fn noreturn(depth: usize) -> Sample {
    Task::new().calls(depth).noreturn(depth)
}

/// The two words below the frame pointer; no list is reliable that has an exception in it.
fn is_caller(image: &Image, callee: &Cursor, caller: &Frame) -> bool {
    let word = |below: u64| image.word(callee.fp.wrapping_sub(below));
    let (Some(pc), Some(fp)) = (word(8), word(16)) else { return false };
    let returns = match caller.found {
        Found::Kept(_) => MAP.is_trampoline(pc),
        Found::Chain => pc == caller.cursor.pc,
        _ => false,
    };
    returns && caller.cursor.fp == fp && caller.cursor.sp == callee.fp
}

/// Entry code, below the block at the stack's top: `ret_from_fork` is there with its first instruction as well.
fn is_last(image: &Image, last: &Cursor) -> bool {
    last.sp == image.bottom && [last.pc, last.pc - 1].iter().any(|pc| image.code(*pc) == Code::Entry)
}
