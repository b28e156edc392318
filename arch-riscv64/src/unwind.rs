// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Frame records of riscv64 (psABI, "Frame Pointer Convention"; `arch/riscv/kernel/stacktrace.c`).
//!
//! ```text
//! caller.fp = [fp-16]
//! caller.pc = [fp-8]
//! caller.sp = fp         less what a function with variable arguments has saved of them
//! ```
//!
//! Entry code makes no record (`arch/riscv/kernel/entry.S`, `handle_exception`). It puts a register block at the stack
//! pointer, `struct pt_regs`, loads s0 with the interrupted stack pointer, and calls. So the record of what it called has:
//!
//! | kernel | pc | sp | fp |
//! |---|---|---|---|
//! | from user mode | entry code | the block, which is the bottom | any |
//! | from the kernel | entry code | the block | the block's sp, which is the block's end |
//! | a kernel thread's function, called by `ret_from_fork` | entry code | the bottom | the function |
//! | a new task's exit to user mode, likewise | entry code | the bottom | 0 |
//!
//! The caller of interrupted code is never known for certain: whether its return address is in ra or in a record of its
//! own depends on how far it had got, and leaf functions save s0 alone. So the interrupted function is reported, and there
//! the walk ends.
//!
//! `call_on_irq_stack` makes a record on the stack it leaves, and s0 leads from one stack to the other.

mod interrupted;

use klp_core::unwind::{Bounds, Code, Cursor, Machine, Saved, Step, Unreliable, Unwind};
use klp_core::{Addr, FarBranch};

use crate::{Riscv64, is_compressed};

/// `struct pt_regs`, offsets in bytes (`arch/riscv/include/asm/ptrace.h`).
mod pt_regs {
    pub(super) const PC: u64 = 0;
    pub(super) const SP: u64 = 16;
    /// s0
    pub(super) const FP: u64 = 64;
    pub(super) const STATUS: u64 = 256;
    /// The size of the whole, aligned like a frame (`PT_SIZE_ON_STACK`).
    pub(super) const SIZE: u64 = 288;
}

/// The bit of `status` that says that the kernel was interrupted (`SR_SPP`, `arch/riscv/include/asm/csr.h`).
const FROM_KERNEL: u64 = 1 << 8;

/// The word at `addr`.
fn read(machine: &impl Machine, addr: Addr) -> Result<u64, Unreliable> {
    machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr))
}

/// Whether the instruction before `pc` is a call.
fn follows_call(pc: Addr, machine: &impl Machine) -> bool {
    let mut before = [0; 4];
    machine.text(pc.wrapping_sub(4), &mut before) && Riscv64::follows_call(pc, &before)
}

/// Whether the code at `pc` begins with a call: `jal`, or `auipc ra; jalr ra`.
fn begins_with_call(pc: Addr, machine: &impl Machine) -> bool {
    const AUIPC_RA: u32 = 0x97;
    let mut code = [0; 8];
    if !machine.text(pc, &mut code) {
        return false;
    }
    let first = u32::from_le_bytes([code[0], code[1], code[2], code[3]]);
    let at = if first & 0xfff == AUIPC_RA { 4 } else { 0 };
    !is_compressed((first & 0xffff) as u16)
        && Riscv64::follows_call(pc.wrapping_add(at as u64 + 4), &code[at..at + 4])
}

/// Where a task starts that has not run yet: with nothing on its stack, at entry code (`ret_from_fork`).
fn is_new_task(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> bool {
    cursor.sp == bottom && machine.code(cursor.pc) == Code::Entry && begins_with_call(cursor.pc, machine)
}

/// The code that an exception interrupted, if entry code with these registers has handled it.
fn interrupted_by(entry: &Cursor, machine: &impl Machine) -> Result<Cursor, Unreliable> {
    let block = entry.sp;
    let register = |offset: u64| read(machine, block.wrapping_add(offset));
    let (pc, sp, fp) = (register(pt_regs::PC)?, register(pt_regs::SP)?, register(pt_regs::FP)?);
    let whole = sp == entry.fp && sp == block.wrapping_add(pt_regs::SIZE);
    if !whole || register(pt_regs::STATUS)? & FROM_KERNEL == 0 {
        return Err(Unreliable::Exception(entry.pc));
    }
    Ok(Cursor { pc, sp, fp, exact: true })
}

impl Unwind for Riscv64 {
    /// The stack pointer's (psABI, "Integer Calling Convention"). The frame pointer is aligned like it.
    /// In no section of its own: up to the function behind it (`arch/riscv/kernel/entry.S`), which a kernel without stacks for
    /// interrupts does not have.
    const ENTRY_TEXT: &'static [Bounds] =
        &[[c"handle_exception", c"call_on_irq_stack"], [c"handle_exception", c"__switch_to"]];

    /// To kallsyms the label at its call ends `ftrace_caller` (`arch/riscv/kernel/mcount-dyn.S`).
    const FTRACE_TEXT: &'static [Bounds] = &[[c"ftrace_caller", c"ftrace_call"]];

    const FRAME_ALIGN: u64 = 16;

    /// The context switch saves ra, its return address, as the program counter, and with it s0 and the stack pointer
    /// (`arch/riscv/kernel/entry.S`, `__switch_to`). A new task has the address of `ret_from_fork` there, which follows no
    /// call and begins with one; its s0 is no frame pointer (`copy_thread`).
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let Saved { pc, sp, fp } = *saved;
        if !sp.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(sp));
        }
        let exact = !follows_call(pc, machine);
        if exact && !begins_with_call(pc, machine) {
            return Err(Unreliable::NotAfterCall(pc));
        }
        Ok(Cursor { pc, sp, fp, exact })
    }

    /// `bottom` is the address of the register block at the high end of the task's stack, which every task has
    /// (`task_pt_regs`). `cursor.sp` is a lower bound.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        if cursor.exact {
            return if is_new_task(cursor, bottom, machine) {
                Ok(Step::Bottom)
            } else {
                Err(interrupted::no_caller(cursor.pc, machine))
            };
        }
        match machine.code(cursor.in_function()) {
            Code::Entry if cursor.sp == bottom => return Ok(Step::Bottom),
            Code::Entry => return interrupted_by(cursor, machine).map(Step::Interrupted),
            // `start_kernel`, whose frame is the first.
            Code::Discarded if cursor.fp == bottom => return Ok(Step::Bottom),
            _ => {}
        }

        let sp = cursor.fp;
        if !sp.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(sp));
        }
        let record = sp.wrapping_sub(16);
        let (fp, pc) = (read(machine, record)?, read(machine, record.wrapping_add(8))?);
        Ok(Step::Caller(Cursor { pc, sp, fp, exact: false }))
    }
}

#[cfg(test)]
mod tests;
