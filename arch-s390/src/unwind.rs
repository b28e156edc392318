// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of s390 kernels: the back chain.
//!
//! The kernel is built with `-mbackchain -mpacked-stack -msoft-float` (`arch/s390/Makefile`), so its frames are not those
//! of the ELF ABI: the back chain is the *last* word of the 160 bytes above the stack pointer, and a function saves its
//! registers directly below its caller's (gcc manual, "S/390 and zSeries Options", `-mpacked-stack`; `struct stack_frame`
//! in `arch/s390/include/asm/stacktrace.h`). Which layout a frame has is decided by how the function that owns it was
//! compiled: see [`FrameLayout`].
//!
//! A zero back chain ends a chain. Entry code makes it, with its register block directly above the 160 bytes
//! (`arch/s390/kernel/entry.S`; for new tasks `copy_thread` in `arch/s390/kernel/process.c`). At the block at the stack's
//! top, that is the bottom; anywhere else the code below the block was interrupted, and it cannot be known whether it
//! had a frame. The kernel's own reliable walk stops there too (`arch_stack_walk_reliable` in
//! `arch/s390/kernel/stacktrace.c`).

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind};

use crate::S390;

/// Bytes above the stack pointer that belong to the functions called next: `STACK_FRAME_OVERHEAD`
/// (`arch/s390/include/uapi/asm/ptrace.h`; ELF ABI, "The Stack Frame").
const FRAME_OVERHEAD: u64 = 160;

/// Where a function keeps what a walk needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// From the function's stack pointer to its back chain: its caller's stack pointer.
    pub back_chain: u64,
    /// From the *caller's* stack pointer to the return address, as the function saved it.
    pub return_address: u64,
}

impl FrameLayout {
    /// `-mpacked-stack -mbackchain`: the kernel and its modules.
    pub const PACKED: FrameLayout = FrameLayout { back_chain: 152, return_address: 136 };

    /// The ELF ABI's layout (ELF ABI, "Back-Chain Slot", "Register Save Area"). rustc has no packed stack: code that it
    /// compiles with the target feature `backchain` has these frames.
    pub const STANDARD: FrameLayout = FrameLayout { back_chain: 0, return_address: 112 };
}

impl S390 {
    /// [`Unwind::step`] from a frame of the given layout: that of the function that `cursor.pc` lies in.
    ///
    /// # Errors
    ///
    /// As for [`Unwind::step`].
    pub fn step_frame(
        layout: FrameLayout,
        cursor: &Cursor,
        bottom: Addr,
        machine: &impl Machine,
    ) -> Result<Step, Unreliable> {
        let word = |addr: Addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));
        let caller = word(cursor.sp.wrapping_add(layout.back_chain))?;
        if caller == 0 {
            let block = cursor.sp.wrapping_add(FRAME_OVERHEAD);
            return if block == bottom { Ok(Step::Bottom) } else { Err(Unreliable::Exception(block)) };
        }
        if !caller.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(caller));
        }
        let pc = word(caller.wrapping_add(layout.return_address))?;
        Ok(Step::Caller(Cursor { pc, sp: caller, fp: 0, exact: false }))
    }
}

impl Unwind for S390 {
    /// ELF ABI, "Registers", on the stack pointer.
    const FRAME_ALIGN: u64 = 8;

    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let pc = saved.sp.wrapping_add(FrameLayout::PACKED.return_address);
        let pc = machine.word(pc).ok_or(Unreliable::CouldNotReadStack(pc))?;
        Ok(Cursor { pc, sp: saved.sp, fp: 0, exact: false })
    }

    /// `sp' = [sp + 152]`, `pc' = [sp' + 136]`: [`FrameLayout::PACKED`].
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        Self::step_frame(FrameLayout::PACKED, cursor, bottom, machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: Addr = 0x380_0001_0000;
    const WORDS: usize = 100;
    const BOTTOM: Addr = STACK + 8 * WORDS as u64;

    fn memory(set: &[(Addr, u64)]) -> impl Memory + use<> {
        let mut words = [0; WORDS];
        for &(addr, value) in set {
            words[usize::try_from((addr - STACK) / 8).unwrap()] = value;
        }
        move |addr: Addr| {
            let index = usize::try_from(addr.checked_sub(STACK)? / 8).ok()?;
            words.get(index).copied()
        }
    }

    const fn at(pc: Addr, sp: Addr) -> Cursor {
        Cursor { pc, sp, fp: 0 }
    }

    /// Three frames; the smallest that gcc makes has 24 bytes, so the 160-byte areas of two frames overlap.
    const FIRST: Addr = BOTTOM - 160 - 24 - 24;
    const SECOND: Addr = BOTTOM - 160 - 24;
    const ENTRY: Addr = BOTTOM - 160;

    #[test]
    fn frames_lead_to_the_bottom() {
        let stack = memory(&[
            (FIRST + 152, SECOND),
            (SECOND + 136, 0xa11),
            (SECOND + 152, ENTRY),
            (ENTRY + 136, 0xe47),
        ]);
        assert_eq!(S390::step(&at(0xf00, FIRST), BOTTOM, &stack), Ok(Step::Frame(at(0xa11, SECOND))));
        assert_eq!(S390::step(&at(0xa11, SECOND), BOTTOM, &stack), Ok(Step::Frame(at(0xe47, ENTRY))));
        assert_eq!(S390::step(&at(0xe47, ENTRY), BOTTOM, &stack), Ok(Step::Bottom));
    }

    #[test]
    fn a_chain_that_ends_at_another_register_block_is_an_exception() {
        let stack = memory(&[]);
        let interrupted = Err(Unreliable::Exception(SECOND + 160));
        assert_eq!(S390::step(&at(0xf00, SECOND), BOTTOM, &stack), interrupted);
    }

    #[test]
    fn broken_chains_are_unreliable() {
        let stack = memory(&[(FIRST + 152, SECOND + 4), (SECOND + 152, BOTTOM)]);
        assert_eq!(S390::step(&at(0xf00, FIRST), BOTTOM, &stack), Err(Unreliable::Misaligned(SECOND + 4)));
        let outside = Err(Unreliable::CouldNotReadStack(BOTTOM + 136));
        assert_eq!(S390::step(&at(0xf00, SECOND), BOTTOM, &stack), outside);
        let outside = Err(Unreliable::CouldNotReadStack(BOTTOM + 152));
        assert_eq!(S390::step(&at(0xf00, BOTTOM), BOTTOM, &stack), outside);
    }

    #[test]
    fn a_frame_of_the_standard_layout_has_its_back_chain_first() {
        let (callee, caller) = (STACK, STACK + 160);
        let stack = memory(&[(callee, caller), (caller + 112, 0xa11), (callee + 152, 0xbad)]);
        let step = S390::step_frame(FrameLayout::STANDARD, &at(0xf00, callee), BOTTOM, &stack);
        assert_eq!(step, Ok(Step::Frame(at(0xa11, caller))));
    }
}
