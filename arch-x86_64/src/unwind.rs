// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of x86_64 kernels, of which there are two kinds: those with objtool's tables ([`orc`], CONFIG_UNWINDER_ORC, what
//! distributions build) and those with frame pointers ([`frame_pointer`], CONFIG_UNWINDER_FRAME_POINTER). In the former rbp
//! is an ordinary register, and a chain found through it skips functions.
//!
//! What both have in common is here: the frame that a context switch leaves, and the register block that an exception
//! leaves.

mod frame_pointer;
mod orc;
mod registers;
#[cfg(test)]
mod testing;

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind, UnwindInfo};

use crate::X86_64;

/// From the saved stack pointer to rbp in `struct inactive_task_frame` (`arch/x86/include/asm/switch_to.h`): behind r15 to
/// r12 and rbx.
const INACTIVE_BP: u64 = 40;
/// To the return address.
const INACTIVE_RETURN: u64 = 48;
/// `sizeof(struct inactive_task_frame)`
const INACTIVE_SIZE: u64 = 56;

/// Reads a word that the walk cannot do without.
fn word(addr: Addr, machine: &impl Machine) -> Result<u64, Unreliable> {
    if !addr.is_multiple_of(X86_64::FRAME_ALIGN) {
        return Err(Unreliable::Misaligned(addr));
    }
    machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr))
}

impl Unwind for X86_64 {
    /// The psABI has 16 (§3.2.2), but the kernel is built with `-mpreferred-stack-boundary=3`.
    const FRAME_ALIGN: u64 = 8;

    /// `pc = [sp + 48]`, `sp' = sp + 56`, `fp = [sp + 40]`: what `__switch_to_asm` pushed (`arch/x86/entry/entry_64.S`).
    ///
    /// A task that has never run has the same frame, made by `copy_thread()` (`arch/x86/kernel/process.c`); its "return
    /// address" is that of `ret_from_fork` or `ret_from_fork_asm`, which no call precedes.
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let at = |offset| word(saved.sp.wrapping_add(offset), machine);
        let (fp, pc, sp) = (at(INACTIVE_BP)?, at(INACTIVE_RETURN)?, saved.sp.wrapping_add(INACTIVE_SIZE));
        let exact = match machine.unwind_info() {
            UnwindInfo::Frames => frame_pointer::is_forked(fp, sp),
            UnwindInfo::Tables(format) => orc::starts_stack(format, pc, machine),
        };
        Ok(Cursor { pc, sp, fp, exact })
    }

    fn starts_stack(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> bool {
        match machine.unwind_info() {
            UnwindInfo::Frames => frame_pointer::is_bottom(cursor, bottom, machine),
            UnwindInfo::Tables(format) => {
                cursor.sp == bottom && orc::starts_stack(format, cursor.in_function(), machine)
            }
        }
    }

    #[inline(always)]
    fn caller(cursor: &Cursor, _: Addr, machine: &impl Machine) -> Option<Cursor> {
        match machine.unwind_info() {
            UnwindInfo::Frames => None,
            UnwindInfo::Tables(format) => orc::caller(format, cursor, machine),
        }
    }

    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        match machine.unwind_info() {
            UnwindInfo::Frames => frame_pointer::step(cursor, bottom, machine),
            UnwindInfo::Tables(format) => orc::step(format, cursor, bottom, machine),
        }
    }
}
