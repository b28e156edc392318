// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of ppc64 kernels, whose entry code makes frames of the ELFv1 ABI's size, or in later kernels of ELFv2's.
//!
//! Sources: ELFv2 §2.2.2; `arch/powerpc/include/asm/ptrace.h`; `arch/powerpc/kernel/process.c`, copy_thread;
//! `arch/powerpc/kernel/entry_64.S`, `_switch`; `arch/powerpc/kernel/interrupt_64.S`.

use klp_core::unwind::{Cursor, Found, Frame, Memory, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::host::stack::{Draft, Drawn, Function, Kind, Map, STACK_SIZE, Sample, Stacks, little_endian};
use crate::image::Image;

/// What the suite is told.
pub(super) const STACKS: Stacks = Stacks {
    kinds: &[
        Kind {
            name: "asleep in a system call, entry frames of ELFv1's size",
            section: "2",
            draw: asleep::<V1>,
        },
        Kind { name: "asleep in a system call, of ELFv2's", section: "2", draw: asleep::<V2> },
        Kind { name: "kernel thread, entry frames of ELFv1's size", section: "4.1", draw: thread::<V1> },
        Kind { name: "kernel thread, of ELFv2's", section: "4.1", draw: thread::<V2> },
        Kind { name: "new task, entry frames of ELFv1's size", section: "4.1", draw: new_task::<V1> },
        Kind { name: "new task, of ELFv2's", section: "4.1", draw: new_task::<V2> },
        Kind { name: "called by generated code", section: "4.2", draw: generated },
        Kind { name: "interrupted, entry frames of ELFv1's size", section: "4.3", draw: interrupted::<V1> },
        Kind { name: "interrupted, of ELFv2's", section: "4.3", draw: interrupted::<V2> },
        Kind { name: "on the interrupt stack", section: "4.3", draw: on_interrupt_stack },
        Kind { name: "the first frame's LR save word is stale", section: "4.6", draw: stale },
        Kind { name: "behind the last instruction", section: "4.6", draw: noreturn },
    ],
    reasons: &[
        "caller-in-register",
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
    return_address: LR_SAVE.cast_signed(),
    is_caller,
    is_last,
};

const MAP: Map = Map { text: 0xc000_0000_0001_0000, stack: 0xc000_0000_0810_0000 };

const FUNCTION: Function = Function { code: &CODE, after_call: 0x20, middle: 0x28 };
const CODE: [u8; 0x100] = {
    const NOP: u32 = 0x6000_0000;
    const BL: u32 = 0x4800_1001;
    let mut insns = [NOP; 64];
    insns[0] = 0x7c08_02a6; // mflr r0
    insns[1] = BL; // ftrace_caller
    insns[2] = 0xf801_0010; // std r0,16(r1)
    insns[3] = 0xf821_ff81; // stdu r1,-128(r1)
    insns[7] = BL;
    insns[63] = BL;
    little_endian(insns)
};

const ENTRY_CALL: Addr = MAP.entry() + FUNCTION.after_call;
/// `ret_from_fork`
const FORKED: Addr = MAP.entry() + 0x80;

/// Sizes of entry code's frame below the register block: parameters of the kinds above.
const V1: u64 = 112;
const V2: u64 = 48;
/// STACK_FRAME_MIN_SIZE of later kernels.
const MIN_FRAME: u64 = 32;
const PT_REGS: u64 = 384;
const NIP: u64 = 256;
/// KERNEL_REDZONE_SIZE
const RED_ZONE: u64 = 288;
const LR_SAVE: u64 = 16;
/// "REGS", as little-endian memory holds it.
const MARKER: u64 = 0x5347_4552;

/// A task, as it runs.
struct Task {
    draft: Draft,
    entry_frame: u64,
    sp: Addr,
    /// The address behind the next call.
    pc: Addr,
    /// It has called a function.
    called: bool,
}

impl Task {
    fn new(entry_frame: u64, sp: Addr) -> Task {
        let mut draft = Draft::new(Endian::Little, MAP, &FUNCTION);
        draft.image.bottom = sp;
        Task { draft, entry_frame, sp, pc: ENTRY_CALL, called: false }
    }

    fn user(entry_frame: u64) -> Task {
        let mut task = Task::new(entry_frame, MAP.stack + STACK_SIZE - PT_REGS - entry_frame);
        // User mode's stack pointer, and the marker.
        task.draft.image.set(task.sp, 0x7fff_1234_5670);
        task.draft.image.set(task.sp + entry_frame - 16, MARKER);
        task
    }

    fn thread(entry_frame: u64) -> Task {
        let top = MAP.stack + STACK_SIZE;
        // The earlier kernels leave room for registers.
        let mut task =
            Task::new(entry_frame, if entry_frame == V1 { top - PT_REGS - V1 } else { top - MIN_FRAME });
        task.draft.image.set(task.sp, 0);
        task
    }

    /// Makes a frame of that many bytes; its owner saves its return address in its caller's.
    fn push(&mut self, size: u64) {
        // What entry code was called by is nothing: its frame ends the chain and is not reported.
        if self.called {
            self.draft.called(self.pc, self.sp + LR_SAVE);
        } else {
            self.draft.image.set(self.sp + LR_SAVE, self.pc);
        }
        self.called = true;
        let sp = self.sp - size;
        self.draft.link(sp, self.sp);
        self.sp = sp;
    }

    /// Is interrupted: entry code makes its frame below the red zone.
    fn interrupt(&mut self, pc: Addr) {
        self.draft.interrupted(pc);
        let sp = self.sp - RED_ZONE - PT_REGS - self.entry_frame;
        self.draft.link(sp, self.sp);
        self.draft.registers(sp + self.entry_frame, PT_REGS);
        self.draft.image.set(sp + self.entry_frame - 16, MARKER);
        self.draft.image.set(sp + self.entry_frame + 8, self.sp);
        self.draft.image.set(sp + self.entry_frame + NIP, pc);
        (self.sp, self.pc) = (sp, ENTRY_CALL);
    }
}

impl Drawn for Task {
    const AFTER_CALL: u64 = FUNCTION.after_call;

    fn draft(self) -> Draft {
        self.draft
    }

    fn call_from(&mut self, i: usize, behind_call: u64) {
        self.push(128 + 16 * i as u64);
        self.pc = MAP.function(i) + behind_call;
    }

    /// Is switched out: `_switch` saves LR in its caller's frame, makes one with a register block in which it is `nip`, and
    /// saves its stack pointer.
    fn switch_out(&mut self) {
        self.draft.image.set(self.sp + LR_SAVE, self.pc);
        let sp = self.sp - PT_REGS - self.entry_frame;
        self.draft.link(sp, self.sp);
        self.draft.image.set(sp + self.entry_frame + NIP, self.pc);
        self.sp = sp;
        let start = Start::SwitchedOut(Saved { sp, pc: 0, fp: 0 });
        self.draft.starts(start, self.pc, None);
    }
}

fn asleep<const FRAME: u64>(depth: usize) -> Sample {
    Task::user(FRAME).calls(depth).asleep()
}

fn thread<const FRAME: u64>(depth: usize) -> Sample {
    Task::thread(FRAME).calls(depth).asleep()
}

/// copy_thread() makes up the block of `_switch`, in later kernels its whole frame. It returns to `ret_from_fork`.
fn new_task<const FRAME: u64>(_: usize) -> Sample {
    let mut task = Task { pc: FORKED, ..Task::user(FRAME) };
    if FRAME == V2 {
        return task.asleep();
    }
    task.draft.image.set(task.sp, 0);
    let sp = task.sp - PT_REGS - FRAME;
    task.draft.image.set(sp + FRAME + NIP, FORKED);
    task.draft.starts(Start::SwitchedOut(Saved { sp, pc: 0, fp: 0 }), FORKED, None);
    task.draft.reliable()
}

fn generated(depth: usize) -> Sample {
    let mut task = Task::user(V2).calls(depth);
    task.call(depth);
    task.pc = MAP.generated() + FUNCTION.after_call;
    task.call(depth + 1);
    let (pc, generated) = (task.pc, MAP.generated() + FUNCTION.after_call);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Unwalkable(generated))
}

fn interrupted<const FRAME: u64>(depth: usize) -> Sample {
    let mut task = Task::user(FRAME).calls(depth);
    let middle = MAP.function(depth - 1) + FUNCTION.middle;
    task.interrupt(middle);
    task.call(depth);
    let handler = task.pc;
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(handler, Unreliable::Exception(middle))
}

/// Soft interrupts are handled on another stack: `call_do_softirq` makes its frame at that one's top.
fn on_interrupt_stack(depth: usize) -> Sample {
    let mut task = Task::user(V2).calls(depth);
    let top = task.draft.add_stack(0);
    let (old, sp) = (task.sp, top - MIN_FRAME - 16);
    // The frame is made before it calls, and LR saved on the old stack.
    task.draft.called(task.pc, old + LR_SAVE);
    task.draft.link(sp, old);
    (task.sp, task.pc) = (sp, MAP.function(depth) + FUNCTION.after_call);
    task.call(depth + 1);
    task.call(depth + 2);
    let cursor = Cursor { pc: task.pc, sp: task.sp, fp: 0, exact: false };
    task.draft.starts(Start::At(cursor), task.pc, None);
    task.draft.reliable()
}

/// The first frame's owner has called nothing that saved LR since an earlier call that did.
fn stale(depth: usize) -> Sample {
    let mut task = Task::user(V2).calls(depth);
    task.switch_out();
    task.draft.image.set(task.sp + LR_SAVE, MAP.function(0) + FUNCTION.after_call);
    // A block of registers that was there before.
    task.draft.image.set(task.sp + MIN_FRAME, MARKER);
    task.draft.reliable()
}

fn noreturn(depth: usize) -> Sample {
    Task::user(V2).calls(depth).noreturn(depth)
}

/// The back chain, and LR where the callee saved it; no list is reliable that has an exception in it.
fn is_caller(image: &Image, callee: &Cursor, caller: &Frame) -> bool {
    let sp = caller.cursor.sp;
    let returns = image.word(sp + LR_SAVE).is_some_and(|word| match caller.found {
        Found::Kept(_) => MAP.is_trampoline(word),
        Found::Chain => word == caller.cursor.pc,
        _ => false,
    });
    returns && image.word(callee.sp) == Some(sp)
}

fn is_last(image: &Image, last: &Cursor) -> bool {
    last.sp == image.bottom || image.word(last.sp) == Some(image.bottom)
}
