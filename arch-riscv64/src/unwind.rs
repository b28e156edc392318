// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of riscv64 kernels: the frame pointer (RISC-V psABI, "Frame Pointer Convention"; `CONFIG_FRAME_POINTER`, which
//! the architecture selects by default, `-fno-omit-frame-pointer -fno-optimize-sibling-calls`).
//!
//! ```text
//! caller.fp = [fp-16]
//! caller.pc = [fp-8]
//! caller.sp ≥ fp      with room between them in a function that has saved arguments there for va_arg()
//! ```
//!
//! Entry code makes no frame (`handle_exception` in `arch/riscv/kernel/entry.S`). It saves a register block, on the stack that
//! was in use if it comes from the kernel, takes the stack pointer that it came from for a frame pointer, and calls. So what it calls has
//! the frame that leads on, and that starts where the block does:
//!
//! ```text
//! block.sp = [fp-16]  the interrupted stack pointer
//! entry    = [fp-8]   in entry code
//! block    = fp       a `struct pt_regs`
//! ```
//!
//! The block at the stack's top is where the task came from, be it from user mode or by `ret_from_fork`, in whose frame pointer is
//! the thread's function. Idle tasks begin there too (`_start_kernel`, `secondary_start_sbi` in `arch/riscv/kernel/head.S`), called
//! from in front of the kernel's text. A block elsewhere is an exception's, of the code below whose stack pointer it lies.
//!
//! The caller of interrupted code is not known: whether its return address is in ra, in t0 behind a patch site, or on the stack
//! depends on how far the code had got. A leaf function does not save ra at all. So the interrupted function is reported, and there
//! the walk ends.
//!
//! Tracers' trampolines make other frames or none (`ftrace_caller` and `return_to_handler` in `mcount*.S`,
//! `arch_rethook_trampoline`); a walker does not come through, since their text counts as generated. Who goes to the interrupt stack has a frame
//! on the old one (`call_on_irq_stack`).

use klp_core::Addr;
use klp_core::unwind::{Bounds, Code, Cursor, Machine, Saved, Step, Unreliable, Unwind};

use crate::Riscv64;

/// From a frame pointer down to the return address, and to the caller's frame pointer (`struct stackframe`,
/// `arch/riscv/include/asm/stacktrace.h`).
const RETURN_ADDRESS: u64 = 8;
const CALLER_FP: u64 = 16;

/// `struct pt_regs`, offsets in bytes (`arch/riscv/include/asm/ptrace.h`).
mod pt_regs {
    pub(super) const EPC: u64 = 0;
    pub(super) const SP: u64 = 16;
    pub(super) const S0: u64 = 64;
    /// All of it, which is a multiple of the stack's alignment (`PT_SIZE_ON_STACK`).
    pub(super) const SIZE: u64 = 36 * 8;
}

fn read(machine: &impl Machine, addr: Addr) -> Result<u64, Unreliable> {
    machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr))
}

/// The code that was interrupted when entry code made the block at its stack pointer. That lies directly below the interrupted
/// stack pointer, which is in the block and was entry code's frame pointer.
fn interrupted(entry: &Cursor, machine: &impl Machine) -> Result<Cursor, Unreliable> {
    let register = |offset: u64| read(machine, entry.sp.wrapping_add(offset));
    let sp = register(pt_regs::SP)?;
    if sp != entry.fp || sp != entry.sp.wrapping_add(pt_regs::SIZE) {
        return Err(Unreliable::NotTheBottom(entry.sp));
    }
    Ok(Cursor { pc: register(pt_regs::EPC)?, sp, fp: register(pt_regs::S0)?, exact: true })
}

impl Unwind for Riscv64 {
    /// The stack pointer's (psABI, "Integer Calling Convention"), and frame pointers': the room between the two in functions with
    /// variable arguments is rounded up to it (gcc's `riscv_compute_frame_info`).
    const FRAME_ALIGN: u64 = 16;

    /// In no section of its own: up to the function behind it (`arch/riscv/kernel/entry.S`). A kernel without stacks for interrupts has
    /// another there.
    const ENTRY_TEXT: &'static [Bounds] =
        &[[c"handle_exception", c"call_on_irq_stack"], [c"handle_exception", c"__switch_to"]];

    /// To kallsyms the label at its call ends `ftrace_caller` (`arch/riscv/kernel/mcount-dyn.S`).
    const FTRACE_TEXT: &'static [Bounds] = &[[c"ftrace_caller", c"ftrace_call"]];

    /// `syscall_exit_to_user_mode`, `do_trap_ecall_u` and `do_irq` are not instrumented; what they call on the way is in
    /// `kernel/entry/common.c` (`GENERIC_ENTRY`), and `arch_do_signal_or_restart`: all known.
    const WAY_OUT: &'static [&'static str] = &[];

    /// `__switch_to` (`arch/riscv/kernel/entry.S`) makes no frame and saves ra, its return address, with its caller's stack and
    /// frame pointer in the task. A new task (`copy_thread` in `arch/riscv/kernel/process.c`) has there the address of
    /// `ret_from_fork`, entry code which nothing called; its frame pointer is the thread's function, or zero.
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let Saved { pc, sp, fp } = *saved;
        if !sp.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(sp));
        }
        Ok(Cursor { pc, sp, fp, exact: machine.code(pc) == Code::Entry })
    }

    /// `bottom` is the address of the register block at the high end of the task's stack, which every task has room for
    /// (`task_pt_regs`). `cursor.sp` is a lower bound, but for entry code's, which calls no function with variable arguments.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let is_entry = machine.code(cursor.in_function()) == Code::Entry;
        if is_entry && cursor.sp == bottom {
            return Ok(Step::Bottom);
        }
        if cursor.exact {
            return Err(Unreliable::Exception(cursor.pc));
        }
        if is_entry {
            return interrupted(cursor, machine).map(Step::Interrupted);
        }
        let sp = cursor.fp;
        if !sp.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(sp));
        }
        // No frame lies in the block. What user mode had in its registers could pass for one.
        if (1..=pt_regs::SIZE).contains(&sp.wrapping_sub(bottom)) {
            return Err(Unreliable::NotTheBottom(sp));
        }
        let word = |below| read(machine, sp.wrapping_sub(below));
        Ok(Step::Caller(Cursor { pc: word(RETURN_ADDRESS)?, sp, fp: word(CALLER_FP)?, exact: false }))
    }
}

#[cfg(test)]
mod tests;
