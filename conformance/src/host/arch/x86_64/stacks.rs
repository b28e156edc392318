// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of x86_64 kernels, built with objtool's tables in both formats, and with frame pointers.
//!
//! Sources: psABI §3.2.2; `arch/x86/include/uapi/asm/ptrace.h`; `arch/x86/include/asm/switch_to.h`;
//! `arch/x86/entry/entry_64.S`; `arch/x86/include/asm/irq_stack.h`; `arch/x86/include/asm/frame.h`.

use klp_core::unwind::{
    Code, Cursor, Found, Frame, Machine, Memory, Saved, Start, TableFormat, Unreliable, UnwindInfo,
};
use klp_core::{Addr, Endian};

use super::orc::{Kind as OrcKind, Orc, Reg};
use crate::host::stack::{Draft, Drawn, FUNCTIONS, Function, Kind, Map, STACK_SIZE, Sample, Stacks};
use crate::image::{Image, Table};

/// What the suite is told.
pub(super) const STACKS: Stacks = Stacks {
    kinds: &[
        Kind { name: "asleep in a system call, ORC with end bit", section: "2", draw: asleep::<END_BIT> },
        Kind {
            name: "asleep in a system call, ORC with signal bit",
            section: "2",
            draw: asleep::<SIGNAL_BIT>,
        },
        Kind { name: "asleep in a system call, frame pointers", section: "2", draw: asleep::<FRAMES> },
        Kind {
            name: "in a function that realigned its stack, end bit",
            section: "2",
            draw: realigned::<END_BIT>,
        },
        Kind {
            name: "in a function that realigned its stack, signal bit",
            section: "2",
            draw: realigned::<SIGNAL_BIT>,
        },
        Kind { name: "no table for a function, end bit", section: "3", draw: undescribed::<END_BIT> },
        Kind { name: "no table for a function, signal bit", section: "3", draw: undescribed::<SIGNAL_BIT> },
        Kind { name: "kernel thread, ORC with end bit", section: "4.1", draw: thread::<END_BIT> },
        Kind { name: "kernel thread, ORC with signal bit", section: "4.1", draw: thread::<SIGNAL_BIT> },
        Kind { name: "kernel thread, frame pointers", section: "4.1", draw: thread::<FRAMES> },
        Kind { name: "new task, ORC with end bit", section: "4.1", draw: new_task::<END_BIT> },
        Kind { name: "new task, ORC with signal bit", section: "4.1", draw: new_task::<SIGNAL_BIT> },
        Kind { name: "new task, frame pointers", section: "4.1", draw: new_task::<FRAMES> },
        Kind { name: "called by generated code, ORC", section: "4.2", draw: generated::<SIGNAL_BIT> },
        Kind { name: "called by generated code, frame pointers", section: "4.2", draw: generated::<FRAMES> },
        Kind { name: "interrupted, end bit", section: "4.3", draw: interrupted::<END_BIT> },
        Kind { name: "interrupted, signal bit", section: "4.3", draw: interrupted::<SIGNAL_BIT> },
        Kind { name: "interrupted, frame pointers", section: "4.3", draw: interrupted::<FRAMES> },
        Kind { name: "at a first instruction, end bit", section: "4.3", draw: at_entry::<END_BIT> },
        Kind { name: "at a first instruction, signal bit", section: "4.3", draw: at_entry::<SIGNAL_BIT> },
        Kind { name: "at a first instruction, frame pointers", section: "4.3", draw: at_entry::<FRAMES> },
        Kind { name: "breakpoint, signal bit", section: "4.3", draw: breakpoint },
        Kind { name: "NMI in an interrupt on its stack, end bit", section: "4.3", draw: nested::<END_BIT> },
        Kind {
            name: "NMI in an interrupt on its stack, signal bit",
            section: "4.3",
            draw: nested::<SIGNAL_BIT>,
        },
        Kind { name: "NMI in entry code, end bit", section: "4.3", draw: in_entry_code::<END_BIT> },
        Kind { name: "NMI in entry code, signal bit", section: "4.3", draw: in_entry_code::<SIGNAL_BIT> },
        Kind {
            name: "interrupted while it realigns its stack",
            section: "4.6",
            draw: realigning::<SIGNAL_BIT>,
        },
        Kind { name: "behind the last instruction, ORC", section: "4.6", draw: noreturn::<SIGNAL_BIT> },
        Kind {
            name: "behind the last instruction, frame pointers",
            section: "4.6",
            draw: noreturn::<FRAMES>,
        },
    ],
    reasons: &[
        "caller-in-register",
        "could-not-read-stack",
        "did-not-advance",
        "exception",
        "misaligned",
        "no-unwind-info",
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

const MAP: Map = Map { text: 0xffff_ffff_8100_0000, stack: 0xffff_c900_0001_0000 };

const FUNCTION: Function = Function { code: &CODE, after_call: 0x20, middle: 0x28 };
/// A call in the middle, one at the end, and NOPs.
const CODE: [u8; 0x100] = {
    let mut code = [0x90; 0x100];
    code[0x1b] = 0xe8;
    code[0xfb] = 0xe8;
    code
};
/// From where a function's prologue is done.
const BODY: u64 = 8;

/// Entry code calls here, with its register block at the stack pointer.
const ENTRY_CALL: Addr = MAP.entry() + FUNCTION.after_call;
/// Behind the last call in the entry code's text, which is a new task's.
const FORKED: Addr = MAP.entry() + 0x100;
/// Functions for what is rare.
const SWITCHES_STACKS: usize = 13;
const REALIGNS: usize = 14;
const UNDESCRIBED: usize = 15;

/// Ways to unwind: parameters of the kinds above.
const END_BIT: u8 = 0;
const SIGNAL_BIT: u8 = 1;
const FRAMES: u8 = 2;

/// `struct pt_regs`
const PT_REGS: u64 = 168;
const BP: u64 = 32;
const IP: u64 = 128;
const CS: u64 = 136;
const SP: u64 = 152;
const KERNEL_CS: u64 = 0x10;
const USER_CS: u64 = 0x33;

/// The frame of a function.
#[derive(Clone, Copy)]
struct Shape {
    /// Bytes of locals.
    locals: u64,
    /// It pushes rbp.
    pushes_bp: bool,
    /// Its rbp is a frame pointer.
    frame_pointer: bool,
}

/// Functions of all shapes, no two of one size.
fn shape(i: usize, unwinder: u8) -> Shape {
    let locals = 24 + 40 * i as u64;
    if unwinder == FRAMES {
        return Shape { locals, pushes_bp: true, frame_pointer: true };
    }
    // Those that are on no stack have frames that no stack has room for: what earlier calls left is part of no chain.
    let (locals, kind) = if i < FUNCTIONS / 2 { (locals, i % 3) } else { (locals + 2 * STACK_SIZE, 0) };
    Shape { locals, pushes_bp: kind != 0, frame_pointer: kind == 1 }
}

/// Entries for all of the text.
fn entries(signal: bool) -> Vec<(Addr, Orc)> {
    let mut entries = Vec::new();
    for i in (0..FUNCTIONS).filter(|i| *i != UNDESCRIBED) {
        let at = MAP.function(i);
        let Shape { locals, pushes_bp, frame_pointer } = shape(i, END_BIT);
        let bp = if pushes_bp { (Reg::PrevSp, -16) } else { (Reg::Undefined, 0) };
        let pushed = 8 + 8 * i16::from(pushes_bp);
        let locals = i16::try_from(locals).expect("small");
        entries.push((at, Orc::call(Reg::Sp, 8)));
        entries.push((at + 1, Orc::call(Reg::Sp, pushed).bp(bp)));
        entries.push((
            at + BODY,
            match i {
                // call_on_irqstack(): the old stack pointer is on the top of the new stack.
                SWITCHES_STACKS => Orc::call(Reg::SpIndirect, pushed + locals).bp(bp),
                // Its callers' stack pointer is in r10, then in a word of its frame.
                REALIGNS => Orc::call(Reg::BpIndirect, -8).bp((Reg::Bp, 0)),
                _ if frame_pointer => Orc::call(Reg::Bp, 16).bp(bp),
                _ => Orc::call(Reg::Sp, pushed + locals).bp(bp),
            },
        ));
    }
    entries.push((MAP.function(REALIGNS) + 4, Orc::call(Reg::R10, 0)));
    entries.push((MAP.function(UNDESCRIBED), Orc::undefined()));
    entries.push((MAP.entry(), Orc { kind: OrcKind::Registers, signal, ..Orc::call(Reg::Sp, 0) }));
    // A breakpoint reports the instruction behind itself.
    entries.push((BREAKPOINT, Orc { kind: OrcKind::Registers, ..Orc::call(Reg::Sp, 0) }));
    // Entry code before it has pushed anything, and behind.
    entries.push((BARE_ENTRY, Orc { kind: OrcKind::Partial, signal, ..Orc::call(Reg::Sp, 0) }));
    entries.push((BARE_ENTRY + 0x20, Orc { kind: OrcKind::Registers, signal, ..Orc::call(Reg::Sp, 0) }));
    entries.push((FORKED - 5, Orc { kind: OrcKind::End, ..Orc::undefined() }));
    entries.push((FORKED, Orc::undefined()));
    entries.sort_by_key(|(start, _)| *start);
    entries
}

/// Entry code without the signal bit.
const BREAKPOINT: Addr = MAP.entry() + 0x40;
/// Entry code that finds what the processor pushed, and no more.
const BARE_ENTRY: Addr = MAP.entry() + 0x60;
/// What the processor pushes: rip, cs, rflags, rsp, ss (SDM vol. 3, §6.14.2).
const PUSHED: u64 = 40;

fn make_table(image: &mut Image, format: TableFormat) {
    let signal = format == TableFormat::SignalBit;
    let encoded = entries(signal).into_iter().map(|(start, orc)| (start, orc.encode(format)));
    image.table = Table::new(MAP.text + 0x80_0000, encoded.collect());
    image.unwind_info = UnwindInfo::Tables(format);
}

/// A task, as it runs.
struct Task {
    draft: Draft,
    unwinder: u8,
    sp: Addr,
    /// From there to the caller's stack pointer.
    size: i64,
    fp: u64,
    /// The address behind the next call.
    pc: Addr,
    /// Where it will be interrupted.
    middle: Addr,
}

impl Task {
    fn new(unwinder: u8) -> Task {
        let mut draft = Draft::new(Endian::Little, MAP, &FUNCTION);
        match unwinder {
            END_BIT => make_table(&mut draft.image, TableFormat::EndBit),
            SIGNAL_BIT => make_table(&mut draft.image, TableFormat::SignalBit),
            _ => {}
        }
        let sp = MAP.stack + STACK_SIZE - PT_REGS;
        draft.registers(sp, PT_REGS);
        draft.image.bottom = sp;
        // rbp is user mode's.
        Task { draft, unwinder, sp, size: 0, fp: 0x7ffc_1234_5678, pc: ENTRY_CALL, middle: 0 }
    }

    /// A task in a system call.
    fn user(unwinder: u8) -> Task {
        let mut task = Task::new(unwinder);
        task.draft.image.set(task.sp + CS, USER_CS);
        task.draft.image.set(task.sp + IP, 0x40_1234);
        task
    }

    /// A kernel thread.
    fn thread(unwinder: u8) -> Task {
        let mut task = Task::new(unwinder);
        for addr in (task.sp..task.sp + PT_REGS).step_by(8) {
            task.draft.image.set(addr, 0);
        }
        Task { fp: 0, pc: FORKED, ..task }
    }

    fn push_return(&mut self) {
        self.sp -= 8;
        self.draft.called(self.pc, self.sp);
    }

    /// Is interrupted at `pc`, and in its entry code, which calls from `entry`.
    fn interrupt(&mut self, pc: Addr, entry: Addr) {
        self.draft.interrupted(pc);
        // Its frame is found from the stack pointer alone: too high by one or more frames, it is another's.
        self.draft.alias_slots(8 - self.size);
        let block = self.sp - PT_REGS;
        self.draft.registers(block, PT_REGS);
        self.draft.image.set(block + IP, pc);
        self.draft.image.set(block + CS, KERNEL_CS);
        self.draft.link(block + SP, self.sp);
        self.draft.link(block + BP, self.fp);
        self.sp = block;
        if self.unwinder == FRAMES {
            self.fp = block | 1;
        }
        self.pc = entry;
    }

    /// Goes on to an inner stack, as `call_on_irqstack()` does.
    fn switch_stacks(&mut self, i: usize) {
        self.call(SWITCHES_STACKS);
        // Its caller is found from the old stack pointer.
        self.draft.alias_slots(8 - self.size);
        let top = self.draft.add_stack(i);
        if self.unwinder == FRAMES {
            self.sp = top;
            return;
        }
        self.draft.link(top - 8, self.sp);
        self.sp = top - 8;
    }

    /// Asleep, with an exception behind which frame pointers lead no further.
    fn asleep_behind(mut self, interrupted: Addr) -> Sample {
        self.switch_out();
        if self.unwinder == FRAMES {
            self.draft.unreliable_behind(ENTRY_CALL, Unreliable::Exception(interrupted))
        } else {
            self.draft.reliable()
        }
    }
}

impl Drawn for Task {
    const AFTER_CALL: u64 = FUNCTION.after_call;

    fn draft(self) -> Draft {
        self.draft
    }

    /// Calls the `i`th function, which will go on to call `behind_call` bytes from its start.
    fn call_from(&mut self, i: usize, behind_call: u64) {
        let Shape { locals, pushes_bp, frame_pointer } = shape(i, self.unwinder);
        self.size = i64::try_from(locals).expect("small") + if pushes_bp { 16 } else { 8 };
        self.push_return();
        if pushes_bp {
            self.sp -= 8;
            self.draft.link(self.sp, self.fp);
        }
        if frame_pointer {
            self.fp = self.sp;
        } else if i % 3 == 2 && self.unwinder != FRAMES {
            // An ordinary register, which it uses.
            self.fp = 0x1234_5678_9abc;
        }
        self.sp -= locals;
        self.pc = MAP.function(i) + behind_call;
        self.middle = MAP.function(i) + FUNCTION.middle;
    }

    /// Is switched out: `__switch_to_asm()` is called, and pushes rbp and five others.
    fn switch_out(&mut self) {
        let slot = self.sp - 8;
        self.draft.image.set(slot, self.pc);
        self.draft.link(slot - 8, self.fp);
        self.sp = slot - 48;
        let start = Start::SwitchedOut(Saved { sp: self.sp, pc: 0, fp: 0 });
        self.draft.starts(start, self.pc, Some(slot));
    }
}

fn asleep<const U: u8>(depth: usize) -> Sample {
    Task::user(U).calls(depth).asleep()
}

fn thread<const U: u8>(depth: usize) -> Sample {
    Task::thread(U).calls(depth).asleep()
}

fn new_task<const U: u8>(_: usize) -> Sample {
    // copy_thread(): the frame of a context switch that returns to ret_from_fork, which no call precedes.
    let mut task = Task::user(U);
    task.pc = FORKED - 5;
    task.fp = if U == FRAMES { task.sp | 1 } else { 0 };
    task.asleep()
}

/// gcc's prologue where a local variable asks for more than the ABI's alignment: the caller's stack pointer in r10, then the
/// return address once more, rbp, and r10.
fn realigned<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    let caller = task.sp;
    task.draft.called(task.pc, caller - 8);
    let aligned = (caller - 8) & !31;
    task.draft.image.set(aligned - 8, task.pc);
    task.draft.link(aligned - 16, task.fp);
    task.draft.link(aligned - 24, caller);
    task.fp = aligned - 16;
    (task.sp, task.pc) = (aligned - 0x60, MAP.function(REALIGNS) + FUNCTION.after_call);
    task.call(depth);
    // What it says is the caller's stack pointer, behind the return address.
    task.draft.alias_slots(8);
    task.asleep()
}

fn undescribed<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    task.call(UNDESCRIBED);
    let pc = task.pc;
    task.call(depth);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::NoUnwindInfo(pc))
}

fn generated<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    task.call(depth);
    task.pc = MAP.generated() + FUNCTION.after_call;
    task.call(depth + 1);
    let (pc, generated) = (task.pc, MAP.generated() + FUNCTION.after_call);
    task.switch_out();
    task.draft.unreliable_behind(pc, Unreliable::Unwalkable(generated))
}

/// Preempted on the way back from an interrupt, on the task's own stack.
fn interrupted<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    let middle = task.middle;
    task.interrupt(middle, ENTRY_CALL);
    task.call(depth);
    task.call(depth + 1);
    task.asleep_behind(middle)
}

fn at_entry<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    task.push_return();
    task.size = 8;
    let first = MAP.function(depth);
    task.interrupt(first, ENTRY_CALL);
    task.call(depth + 1);
    task.asleep_behind(first)
}

fn breakpoint(depth: usize) -> Sample {
    let mut task = Task::user(SIGNAL_BIT).calls(depth);
    let middle = task.middle;
    // Its entry code calls where a call precedes: the text there repeats the call at 0x1b.
    task.interrupt(middle, BREAKPOINT + 0x10);
    let mut code = CODE;
    code[0x4b] = 0xe8;
    task.draft.image.text.insert(MAP.entry(), code.to_vec());
    task.call(depth);
    task.switch_out();
    task.draft.unreliable_behind(BREAKPOINT + 0x10, Unreliable::Exception(middle))
}

/// An interrupt moves to its stack, and is interrupted there by an NMI, which has another.
fn nested<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    let middle = task.middle;
    task.interrupt(middle, ENTRY_CALL);
    task.switch_stacks(0);
    task.call(depth);
    // The processor itself changes stacks for an NMI.
    let (old, middle) = (task.sp, task.middle);
    let top = task.draft.add_stack(1);
    task.sp = top;
    task.interrupt(middle, ENTRY_CALL);
    task.draft.image.set(task.sp + SP, old);
    task.call(depth + 1);
    let cursor = Cursor { pc: task.middle, sp: task.sp, fp: task.fp, exact: true };
    task.draft.starts(Start::At(cursor), task.middle, None);
    task.draft.reliable()
}

/// An exception's entry code is interrupted at once.
fn in_entry_code<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    let (old, middle) = (task.sp, task.middle);
    task.draft.interrupted(middle);
    task.draft.alias_slots(8 - task.size);
    task.sp -= PUSHED;
    task.draft.image.set(task.sp, middle);
    task.draft.image.set(task.sp + (CS - IP), KERNEL_CS);
    task.draft.link(task.sp + (SP - IP), old);
    let pushed = task.sp;
    // What it pushed when the task came from user mode.
    task.draft.alias(task.draft.image.bottom + IP);
    task.sp = task.draft.add_stack(0);
    task.interrupt(BARE_ENTRY, ENTRY_CALL);
    task.draft.image.set(task.sp + SP, pushed);
    task.call(depth);
    let cursor = Cursor { pc: task.middle, sp: task.sp, fp: task.fp, exact: true };
    task.draft.starts(Start::At(cursor), task.middle, None);
    task.draft.reliable()
}

fn realigning<const U: u8>(depth: usize) -> Sample {
    let mut task = Task::user(U).calls(depth);
    task.push_return();
    task.size = 8;
    let first = MAP.function(REALIGNS) + 4;
    task.interrupt(first, ENTRY_CALL);
    task.call(depth);
    task.switch_out();
    task.draft.unreliable_behind(first, Unreliable::CallerInRegister(first))
}

fn noreturn<const U: u8>(depth: usize) -> Sample {
    Task::user(U).calls(depth).noreturn(depth)
}

/// The word that a call pushed, and rbp of the caller, by the entry for the callee's code.
fn is_caller(image: &Image, callee: &Cursor, caller: &Frame) -> bool {
    let word = |addr: Addr| image.word(addr);
    let to = caller.cursor;
    let returns = |slot: Addr| {
        let kept = |word: u64| match caller.found {
            Found::Kept(_) => MAP.is_trampoline(word),
            _ => word == to.pc,
        };
        word(slot).is_some_and(kept) && to.sp == slot + 8
    };
    let registers = |block: Addr| {
        let at = |offset| word(block.wrapping_add(offset));
        let kernel = at(CS).is_some_and(|cs| cs & 3 == 0);
        kernel && caller.found == Found::Registers && (at(IP), at(SP)) == (Some(to.pc), Some(to.sp))
    };
    let UnwindInfo::Tables(format) = image.unwind_info else {
        return returns(callee.fp.wrapping_add(8)) && word(callee.fp) == Some(to.fp);
    };
    let pc = if callee.exact { callee.pc } else { callee.pc - 1 };
    let entries = entries(format == TableFormat::SignalBit);
    let Some((_, orc)) = entries.iter().rfind(|(start, _)| *start <= pc) else { return false };
    let Some(frame) = orc.frame(callee, word) else { return false };
    match orc.kind {
        OrcKind::Call => returns(frame.wrapping_sub(8)) && orc.caller_bp(callee, frame, word) == Some(to.fp),
        OrcKind::Registers => registers(frame) && word(frame.wrapping_add(BP)) == Some(to.fp),
        OrcKind::Partial => registers(frame.wrapping_sub(IP)) && callee.fp == to.fp,
        _ => false,
    }
}

/// The code that finds user mode's registers, or those of them that the processor pushed; or the first of a thread.
fn is_last(image: &Image, last: &Cursor) -> bool {
    let entry = image.code(last.in_function()) == Code::Entry;
    let bare = (BARE_ENTRY..BARE_ENTRY + 0x20).contains(&last.pc) && last.sp == image.bottom + IP;
    last.sp == image.bottom && (entry || image.unwind_info == UnwindInfo::Frames) || bare
}
