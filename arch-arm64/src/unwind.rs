// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Frame records of arm64 (AAPCS64, "The Frame Pointer").
//!
//! ```text
//! caller.fp = [fp]
//! caller.pc = [fp+8]   may be signed
//! caller.sp ≥ fp+16    where in its frame a function puts its record is up to the compiler
//! ```
//!
//! Entry code makes a record too, inside the register block it saves (`arch/arm64/kernel/entry.S`, `kernel_entry`). It
//! ends the chain, or stands for the code that an exception interrupted:
//!
//! | kernel | from user mode, and in each new task | from the kernel |
//! |---|---|---|
//! | to 6.12 | {0, 0} | {x29, pc}: what the block around it holds too |
//! | later | {0, 0}, then a third word `FRAME_META_TYPE_FINAL` | {0, 0}, `FRAME_META_TYPE_PT_REGS` |
//!
//! The caller of interrupted code is never known for certain: whether its return address is in x30, in x9 behind a patch
//! site, or in a record of its own depends on how far it had got. So the interrupted function is reported, and there the
//! walk ends; see `unwind/interrupted.rs`.

mod interrupted;

use klp_core::unwind::{Bounds, Code, Cursor, Machine, Saved, Step, Unreliable, Unwind};
use klp_core::{Addr, Architecture, FarBranch};

use crate::Arm64;
use crate::ftrace::is_bl;

/// `struct pt_regs`, offsets in bytes (`arch/arm64/include/asm/ptrace.h`).
mod pt_regs {
    /// x29
    pub(super) const FP: u64 = 232;
    pub(super) const SP: u64 = 248;
    pub(super) const PC: u64 = 256;
    /// Behind the registers that user mode chooses (`struct user_pt_regs`).
    pub(super) const USER_END: u64 = 272;
    /// The record, where it has two words.
    pub(super) const RECORD: u64 = 304;
    /// The size of the whole, where the record has two words.
    pub(super) const SIZE: u64 = 336;
    /// The record, where it has three words.
    pub(super) const META_RECORD: u64 = 296;
}

/// The third word of a record whose first two are zero (`arch/arm64/include/asm/stacktrace/frame.h`).
mod meta_type {
    pub(super) const FINAL: u64 = 1;
    pub(super) const PT_REGS: u64 = 2;
}

/// `mov x30,x0`, that is `orr x30,xzr,x0`.
const MOV_X30_X0: u32 = 0xaa00_03fe;

/// The word at `addr`.
fn read(machine: &impl Machine, addr: Addr) -> Result<u64, Unreliable> {
    machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr))
}

/// The instruction at `addr`.
fn insn_at(machine: &impl Machine, addr: Addr) -> Option<u32> {
    let mut code = [0; 4];
    (addr.is_multiple_of(4) && machine.text(addr, &mut code)).then(|| u32::from_le_bytes(code))
}

/// Whether the instruction before `pc` is a call.
fn follows_call(pc: Addr, machine: &impl Machine) -> bool {
    insn_at(machine, pc.wrapping_sub(4)).is_some_and(|insn| Arm64::follows_call(pc, &insn.to_le_bytes()))
}

/// Whether the chain ends with the record at `record`, whose first two words are zero.
fn is_final(record: Addr, bottom: Addr, machine: &impl Machine) -> bool {
    let offset = record.wrapping_sub(bottom);
    offset == pt_regs::RECORD
        || (pt_regs::USER_END..pt_regs::SIZE).contains(&offset)
            && machine.word(record.wrapping_add(16)) == Some(meta_type::FINAL)
}

/// Where a task starts that has not run yet: with nothing on its stack, at code that begins with a call (`ret_from_fork`).
///
/// A function that was interrupted at its first instruction, called from there, looks alike but for that call: one that
/// began so would lose its return address, and the call of a patch site comes second.
fn is_new_task(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> bool {
    cursor.sp == bottom
        && insn_at(machine, cursor.pc).is_some_and(is_bl)
        && !interrupted::is_site_call(cursor.pc, machine)
}

/// The code that an exception interrupted whose register block starts at `block`.
fn interrupted_by(block: Addr, machine: &impl Machine) -> Result<Cursor, Unreliable> {
    let register = |offset: u64| read(machine, block.wrapping_add(offset));
    let (pc, sp, fp) = (register(pt_regs::PC)?, register(pt_regs::SP)?, register(pt_regs::FP)?);
    Ok(Cursor { pc, sp, fp, exact: true })
}

/// The code that an exception interrupted, if the record {`fp`, `lr`} at `record` is in its register block: that lies
/// directly below the interrupted stack pointer, and holds both words once more.
///
/// A record that only looks like one costs nothing but the rest of the walk. One that is not found out, because a handler
/// changed the block, belongs to a frame of entry code.
fn exception(record: Addr, (fp, lr): (u64, u64), machine: &impl Machine) -> Option<Cursor> {
    let block = record.wrapping_sub(pt_regs::RECORD);
    let interrupted = interrupted_by(block, machine).ok()?;
    let expected = Cursor { pc: lr, sp: block.wrapping_add(pt_regs::SIZE), fp, exact: true };
    (interrupted == expected).then_some(interrupted)
}

impl Unwind for Arm64 {
    /// To kallsyms the label at its call ends it (6.1: `ftrace_common` in `arch/arm64/kernel/entry-ftrace.S`).
    const FTRACE_TEXT: &'static [Bounds] = &[[c"ftrace_caller", c"ftrace_call"]];

    /// The stack pointer's (AAPCS64, "Universal stack constraints"); compilers keep records aligned like it.
    const FRAME_ALIGN: u64 = 16;

    /// The context switch saves x30, its return address into `__switch_to`, as the program counter, and with it the frame
    /// pointer and stack pointer of that function (`arch/arm64/kernel/entry.S`, `cpu_switch_to`). A new task has the
    /// address of `ret_from_fork` there, which follows no call and begins with one.
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let Saved { pc, sp, fp } = *saved;
        if !sp.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(sp));
        }
        let exact = !follows_call(pc, machine);
        if exact && !insn_at(machine, pc).is_some_and(is_bl) {
            return Err(Unreliable::NotAfterCall(pc));
        }
        Ok(Cursor { pc, sp, fp, exact })
    }

    /// `bottom` is the address of the register block at the high end of the task's stack, which every task has
    /// (`task_pt_regs`); the words of that block can be read. `cursor.sp` is a lower bound.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        if cursor.exact && !is_new_task(cursor, bottom, machine) {
            return Err(interrupted::no_caller(cursor.pc, machine));
        }

        // What a return trampoline called, and tells it the address it returns to (`return_to_handler`): nobody else's list
        // has that address any more. It has no record of its own, the only code that calls without one and goes on.
        if !cursor.exact && insn_at(machine, cursor.pc) == Some(MOV_X30_X0) {
            return Err(Unreliable::Unwalkable(cursor.pc));
        }

        let record = cursor.fp;
        if !record.is_multiple_of(8) {
            return Err(Unreliable::Misaligned(record));
        }
        let (fp, lr) = (read(machine, record)?, read(machine, record.wrapping_add(8))?);
        if (fp, lr) == (0, 0) {
            if is_final(record, bottom, machine) {
                return Ok(Step::Bottom);
            }
            if machine.word(record.wrapping_add(16)) == Some(meta_type::PT_REGS) {
                return interrupted_by(record.wrapping_sub(pt_regs::META_RECORD), machine)
                    .map(Step::Interrupted);
            }
        }

        // Only the three-word records lie otherwise.
        if !record.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(record));
        }
        if (fp, lr) == (0, 0) || record.wrapping_sub(bottom) < pt_regs::SIZE || cursor.exact {
            return Err(Unreliable::NotTheBottom(record));
        }
        if let Some(interrupted) = exception(record, (fp, lr), machine) {
            return Ok(Step::Interrupted(interrupted));
        }
        if machine.code(cursor.in_function()) == Code::Entry {
            return Err(Unreliable::Exception(lr));
        }
        Ok(Step::Caller(Cursor { pc: Self::strip_return_address(lr), sp: record + 16, fp, exact: false }))
    }
}

#[cfg(test)]
mod tests;
