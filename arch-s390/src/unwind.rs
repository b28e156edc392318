// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of s390 kernels: the back chain.
//!
//! The kernel is built with `-mbackchain -mpacked-stack -msoft-float` (`arch/s390/Makefile`), so its frames are not those
//! of the ELF ABI. The 160 bytes above a stack pointer belong to the functions called next. The back chain is the *last*
//! word of them, and a function saves its registers at the end of its caller's, the return address two words below the
//! caller's back chain (gcc manual, "S/390 and zSeries Options", `-mpacked-stack`; `struct stack_frame` in
//! `arch/s390/include/asm/stacktrace.h`).
//!
//! ```text
//!   caller's sp + 152   its back chain
//!               + 144   r15 as the callee found it: the caller's sp
//!               + 136   r14 likewise: the return address
//!               …       more registers of the caller's, then the callee's own frame
//! ```
//!
//! A zero back chain ends a chain. Entry code makes it, with its register block directly above the 160 bytes
//! (`arch/s390/kernel/entry.S`; for new tasks `copy_thread` in `arch/s390/kernel/process.c`). At the block at the stack's
//! top, that is the bottom; anywhere else the code below the block was interrupted, and it cannot be known whether it
//! had a frame. The kernel's own reliable walk stops there too (`arch_stack_walk_reliable` in
//! `arch/s390/kernel/stacktrace.c`).
//!
//! Who goes on to another stack, for an interrupt or without address translation, stores there the stack pointer it was
//! called with (`call_on_stack` in `asm/stacktrace.h`). So one of its frames is on the new stack, and its caller's return
//! address is where the old one has it: such a back chain is like any other.

#[cfg(test)]
mod tests;

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind};

use crate::S390;

/// Bytes above the stack pointer that belong to the functions called next: `STACK_FRAME_OVERHEAD`
/// (`arch/s390/include/uapi/asm/ptrace.h`; ELF ABI, "The Stack Frame").
const FRAME_OVERHEAD: u64 = 160;
/// From a function's stack pointer to its back chain, its caller's stack pointer (`__SF_BACKCHAIN`).
const BACK_CHAIN: u64 = 152;
/// From the caller's stack pointer to where the callee saved it (`__SF_GPRS`, r15).
const SAVED_SP: u64 = 144;
/// From the caller's stack pointer to the callee's return address (`__SF_GPRS`, r14).
const RETURN_ADDRESS: u64 = 136;

/// Where a register block has the address that was to be executed next (`struct pt_regs`, `psw.addr`).
const BLOCK_PC: u64 = 16;
/// The part of a register block that is the same in all kernels and that user mode can fill (`user_pt_regs`).
const BLOCK_SIZE: u64 = 152;

impl Unwind for S390 {
    /// ELF ABI, "Registers", on the stack pointer.
    const FRAME_ALIGN: u64 = 8;

    /// `__switch_to` (`arch/s390/kernel/entry.S`) saves r6 to r15 in its caller's frame, makes none, and keeps the stack
    /// pointer. Where that is a C function, it jumps to `__switch_to_asm`, which does the same; traced, it returns to
    /// the tracer's trampoline. A new task's is prepared to "return" to the first instruction of `ret_from_fork`, from
    /// a frame that nobody called.
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let word = |offset| {
            let addr = saved.sp.wrapping_add(offset);
            machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr))
        };
        let resumed = word(SAVED_SP)?;
        if resumed != saved.sp {
            return Err(Unreliable::WrongStack(resumed));
        }
        let exact = word(BACK_CHAIN)? == 0;
        Ok(Cursor { pc: word(RETURN_ADDRESS)?, sp: saved.sp, fp: 0, exact })
    }

    /// `sp' = [sp + 152]`, `pc' = [sp' + 136]`, and `[sp' + 144]` is `sp'` again.
    ///
    /// All functions that call save r15 together with r14: a chain that leads to where no function was called is broken.
    /// `bottom` is where the register block at the stack's top starts.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let word = |addr: Addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));
        let caller = word(cursor.sp.wrapping_add(BACK_CHAIN))?;
        if caller == 0 {
            let block = cursor.sp.wrapping_add(FRAME_OVERHEAD);
            if block == bottom {
                return Ok(Step::Bottom);
            }
            return Err(Unreliable::Exception(word(block.wrapping_add(BLOCK_PC))?));
        }
        if !caller.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(caller));
        }
        // Entry code's frame is the last. What user mode had in its registers is above, and could pass for a frame.
        let above_last = caller.wrapping_sub(bottom.wrapping_sub(FRAME_OVERHEAD));
        if (1..FRAME_OVERHEAD + BLOCK_SIZE).contains(&above_last) {
            return Err(Unreliable::NotTheBottom(caller));
        }
        let pc = word(caller.wrapping_add(RETURN_ADDRESS))?;
        if word(caller.wrapping_add(SAVED_SP))? != caller {
            return Err(Unreliable::WrongStack(caller));
        }
        Ok(Step::Caller(Cursor { pc, sp: caller, fp: 0, exact: false }))
    }
}
