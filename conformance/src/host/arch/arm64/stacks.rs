// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of arm64 kernels, whose entry code leaves frame records of two words, or in later kernels of three.
//!
//! Sources: AAPCS64 §6.4.6; `arch/arm64/include/asm/ptrace.h`; `arch/arm64/kernel/entry.S`, `kernel_entry`, `cpu_switch_to`,
//! `ret_from_fork`, `call_on_irq_stack`; `arch/arm64/include/asm/stacktrace/frame.h`; `arch/arm64/kernel/process.c`.

use klp_core::unwind::{Cursor, Found, Frame, Memory, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::host::stack::{
    Draft, Drawn, FUNCTION_SIZE, Function, Kind, Map, STACK_SIZE, Sample, Stacks, little_endian,
};
use crate::image::Image;

/// What the suite is told.
pub(super) const STACKS: Stacks = Stacks {
    kinds: &[
        Kind { name: "asleep in a system call", section: "2", draw: asleep::<false> },
        Kind { name: "asleep in a system call, records of three words", section: "2", draw: asleep::<true> },
        Kind { name: "kernel thread", section: "4.1", draw: thread::<false> },
        Kind { name: "kernel thread, records of three words", section: "4.1", draw: thread::<true> },
        Kind { name: "new task", section: "4.1", draw: new_task::<false> },
        Kind { name: "new task, records of three words", section: "4.1", draw: new_task::<true> },
        Kind { name: "called by generated code", section: "4.2", draw: generated },
        Kind { name: "on the interrupt stack", section: "4.3", draw: on_interrupt_stack },
        Kind { name: "interrupted", section: "4.3", draw: interrupted::<false> },
        Kind { name: "interrupted, records of three words", section: "4.3", draw: interrupted::<true> },
        Kind { name: "at a first instruction", section: "4.3", draw: at_entry::<0> },
        Kind { name: "at the call of a patch site", section: "4.5", draw: at_entry::<4> },
        Kind { name: "signed return addresses", section: "4.5", draw: signed },
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
        "not-the-bottom",
        "not-text",
        "return-left",
        "return-lost",
        "unwalkable",
        "wrong-stack",
    ],
    return_address: 8,
    is_caller,
    is_last,
};

const MAP: Map = Map { text: 0xffff_8000_0801_0000, stack: 0xffff_8000_0a00_0000 };

const FUNCTION: Function = Function { code: &CODE, after_call: 0x20, middle: 0x28 };
/// From a function's start to its return.
const RETURN: u64 = 0x38;
const CODE: [u8; 0x100] = {
    const NOP: u32 = 0xd503_201f;
    const CBZ: u32 = 0xb400_0040;
    const BL: u32 = 0x9400_0000;
    let mut insns = [NOP; 64];
    insns[0] = 0xaa1e_03e9; // mov x9,x30
    insns[1] = BL; // ftrace_caller
    insns[2] = 0xd503_233f; // paciasp
    insns[3] = 0xa9bd_7bfd; // stp x29,x30,[sp,#-48]!
    insns[4] = 0x9100_03fd; // mov x29,sp
    insns[7] = BL;
    insns[11] = CBZ;
    insns[12] = 0xa8c3_7bfd; // ldp x29,x30,[sp],#48
    insns[13] = 0xd503_23bf; // autiasp
    insns[14] = 0xd65f_03c0; // ret
    insns[63] = BL;
    little_endian(insns)
};

const ENTRY_CALL: Addr = MAP.entry() + FUNCTION.after_call;
/// `ret_from_fork`, which begins with a call and is ordinary text, and behind its call of a thread's function.
const FORKED: Addr = MAP.function(15) + FUNCTION.after_call - 4;
const THREAD: Addr = MAP.function(15) + 0x100;

/// `struct pt_regs`
const PT_REGS: u64 = 336;
const X29: u64 = 232;
const X30: u64 = 240;
const SP: u64 = 248;
const PC: u64 = 256;
const RECORD: u64 = 304;
/// Where the record starts, and its third word, in kernels whose record has three.
const META_RECORD: u64 = 296;
const META_TYPE: u64 = META_RECORD + 16;
const FRAME_META_TYPE_FINAL: u64 = 1;
const FRAME_META_TYPE_PT_REGS: u64 = 2;

/// A task, as it runs.
struct Task {
    draft: Draft,
    /// Records of entry code have three words.
    meta: bool,
    sp: Addr,
    /// x29
    fp: Addr,
    /// The address behind the next call.
    pc: Addr,
    /// Return addresses are signed.
    signs: bool,
    /// How many calls there were.
    calls: usize,
}

impl Task {
    fn new(meta: bool) -> Task {
        let mut draft = Draft::new(Endian::Little, MAP, &FUNCTION);
        let block = MAP.stack + STACK_SIZE - PT_REGS;
        draft.registers(block, PT_REGS);
        draft.image.bottom = block;
        let fp = block + if meta { META_RECORD } else { RECORD };
        draft.image.set(fp, 0);
        draft.image.set(fp + 8, 0);
        if meta {
            draft.image.set(fp + 16, FRAME_META_TYPE_FINAL);
        }
        Task { draft, meta, sp: block, fp, pc: ENTRY_CALL, signs: false, calls: 0 }
    }

    fn interrupt(&mut self, pc: Addr) {
        self.draft.interrupted(pc);
        let block = self.sp - PT_REGS;
        self.draft.registers(block, PT_REGS);
        // The two registers lie like a frame record, and may be one: that of the interrupted function's last call.
        self.draft.image.set(block + X30, pc & !(FUNCTION_SIZE - 1) | FUNCTION.after_call);
        self.draft.alias(block + X29);
        self.draft.image.set(block + PC, pc);
        self.draft.link(block + X29, self.fp);
        self.draft.link(block + SP, self.sp);
        if self.meta {
            self.draft.image.set(block + META_RECORD, 0);
            self.draft.image.set(block + META_RECORD + 8, 0);
            self.draft.image.set(block + META_TYPE, FRAME_META_TYPE_PT_REGS);
        } else {
            self.draft.link(block + RECORD, self.fp);
            self.draft.image.set(block + RECORD + 8, pc);
        }
        self.fp = block + if self.meta { META_RECORD } else { RECORD };
        (self.sp, self.pc) = (block, ENTRY_CALL);
    }

    fn saved(&self) -> Start {
        Start::SwitchedOut(Saved { sp: self.sp, pc: self.pc, fp: self.fp })
    }
}

impl Drawn for Task {
    const AFTER_CALL: u64 = FUNCTION.after_call;

    fn draft(self) -> Draft {
        self.draft
    }

    /// Calls the `i`th function, which will go on to call `behind_call` bytes from its start. Its frame may have room below
    /// the record, for arguments, and has some above.
    fn call_from(&mut self, i: usize, behind_call: u64) {
        let size = 48 + 32 * i as u64;
        let record = self.sp - size;
        // The pointer authentication code is in bits 48 to 54 and 56 to 63, where an address has ones.
        let code = 0x35_u64.wrapping_mul(self.calls as u64 + 1) & 0x7f;
        let word = if self.signs {
            self.pc & !(0x7f << 48) & !(0xff << 56) | code << 48 | code << 57
        } else {
            self.pc
        };
        self.draft.called_with(self.pc, record + 8, word);
        self.draft.link(record, self.fp);
        self.fp = record;
        self.sp = record - 16 * (i as u64 % 3);
        self.pc = MAP.function(i) + behind_call;
        self.calls += 1;
    }

    fn switch_out(&mut self) {
        self.draft.starts(self.saved(), self.pc, None);
    }
}

fn asleep<const META: bool>(depth: usize) -> Sample {
    Task::new(META).calls(depth).asleep()
}

fn thread<const META: bool>(depth: usize) -> Sample {
    Task { pc: THREAD, ..Task::new(META) }.calls(depth).asleep()
}

fn new_task<const META: bool>(_: usize) -> Sample {
    Task { pc: FORKED, ..Task::new(META) }.asleep()
}

fn generated(depth: usize) -> Sample {
    let mut task = Task::new(false).calls(depth);
    task.call(depth);
    task.pc = MAP.generated() + FUNCTION.after_call;
    task.call(depth + 1);
    let (pc, generated) = (task.pc, MAP.generated() + FUNCTION.after_call);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Unwalkable(generated))
}

/// What handles soft interrupts is called on another stack; `call_on_irq_stack` has its record on the old one.
fn on_interrupt_stack(depth: usize) -> Sample {
    let mut task = Task::new(false).calls(depth);
    task.call(depth);
    task.sp = task.draft.add_stack(0);
    task.call(depth + 1);
    task.call(depth + 2);
    let cursor = Cursor { pc: task.pc, sp: task.sp, fp: task.fp, exact: false };
    task.draft.starts(Start::At(cursor), task.pc, None);
    task.draft.reliable()
}

fn interrupted<const META: bool>(depth: usize) -> Sample {
    let mut task = Task::new(META).calls(depth);
    let middle = MAP.function(depth - 1) + FUNCTION.middle;
    task.interrupt(middle);
    task.call(depth);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(middle, Unreliable::Exception(middle))
}

/// Interrupted where the return address is in x30, or in x9.
fn at_entry<const OFFSET: u64>(depth: usize) -> Sample {
    let mut task = Task::new(false).calls(depth);
    let pc = MAP.function(depth) + OFFSET;
    // Its caller's frame cannot be found: it is in a register.
    task.interrupt(pc);
    task.call(depth + 1);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::CallerInRegister(pc))
}

fn signed(depth: usize) -> Sample {
    let mut task = Task { signs: true, ..Task::new(false) }.calls(depth);
    // ret_from_fork and entry code do not sign.
    task.signs = false;
    task.call(depth);
    task.asleep()
}

fn noreturn(depth: usize) -> Sample {
    Task::new(false).calls(depth).noreturn(depth)
}

/// The frame record; no list is reliable that has an exception in it.
fn is_caller(image: &Image, callee: &Cursor, caller: &Frame) -> bool {
    let (Some(fp), Some(word)) = (image.word(callee.fp), image.word(callee.fp.wrapping_add(8))) else {
        return false;
    };
    let returns = match caller.found {
        Found::Kept(_) => MAP.is_trampoline(word),
        Found::Chain => word | 0xff7f << 48 == caller.cursor.pc,
        _ => false,
    };
    returns && caller.cursor.fp == fp && caller.cursor.sp == callee.fp + 16
}

fn is_last(image: &Image, last: &Cursor) -> bool {
    let zeros = image.word(last.fp) == Some(0) && image.word(last.fp.wrapping_add(8)) == Some(0);
    // Where it is in the block says its third word, and the block may be another kernel's.
    let in_block = last.fp.wrapping_sub(image.bottom) < PT_REGS;
    let meta = in_block && image.word(last.fp + 16) == Some(FRAME_META_TYPE_FINAL);
    zeros && (meta || last.fp == image.bottom + RECORD)
}
