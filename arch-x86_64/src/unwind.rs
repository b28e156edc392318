// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of x86_64 kernels that are built with frame pointers (CONFIG_UNWINDER_FRAME_POINTER).
//!
//! Every function begins with `push %rbp; mov %rsp,%rbp` (psABI §3.2.2), so at a frame pointer lies the caller's, and one
//! word above it the return address.
//!
//! Debian's kernels are built without: there rbp is an ordinary register, a chain found through it may skip functions,
//! and so **this rule must not be used on them**. They need ORC data (CONFIG_UNWINDER_ORC), which is not read yet.
//!
//! Interrupt and exception entry code marks its register block for the walk: it sets the frame pointer to the block's
//! address with the lowest bit set (`ENCODE_FRAME_POINTER` in `arch/x86/include/asm/frame.h`).

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind};

use crate::X86_64;

/// From a frame pointer to the return address.
const RETURN_ADDRESS: u64 = 8;
/// From a frame pointer to the stack pointer after the return.
const CALLER_SP: u64 = 16;

impl Unwind for X86_64 {
    /// The psABI has 16 (§3.2.2), but the kernel is built with `-mpreferred-stack-boundary=3`.
    const FRAME_ALIGN: u64 = 8;

    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let word = |addr: Addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));
        // struct inactive_task_frame (arch/x86/include/asm/switch_to.h): r15 to r12, rbx, rbp, return address.
        let (fp, pc) = (word(saved.sp.wrapping_add(40))?, word(saved.sp.wrapping_add(48))?);
        Ok(Cursor { pc, sp: saved.sp.wrapping_add(56), fp, exact: false })
    }

    /// `pc' = [fp + 8]`, `sp' = fp + 16`, `fp' = [fp]`; the bottom is reached when `sp` is `bottom`: the frame below the
    /// entry code's register block is that of the entry code itself, which has none of its own.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        if cursor.sp == bottom {
            return Ok(Step::Bottom);
        }
        let fp = cursor.fp;
        if fp & 1 != 0 {
            return Err(Unreliable::Exception(fp & !1));
        }
        if !fp.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(fp));
        }
        let word = |addr: Addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));
        Ok(Step::Caller(Cursor {
            fp: word(fp)?,
            pc: word(fp.wrapping_add(RETURN_ADDRESS))?,
            sp: fp.wrapping_add(CALLER_SP),
            exact: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: Addr = 0xffff_c900_0001_0000;
    const BOTTOM: Addr = STACK + 8 * 8;

    fn memory(words: [u64; 8]) -> impl Memory {
        move |addr: Addr| {
            let index = usize::try_from(addr.checked_sub(STACK)? / 8).ok()?;
            words.get(index).copied()
        }
    }

    #[test]
    fn frames_lead_to_the_bottom() {
        let stack = memory([0, 0, STACK + 48, 0xa11, 0, 0, 0, 0xe47]);
        let first = Cursor { pc: 0xf00, sp: STACK, fp: STACK + 16 };
        let second = Cursor { pc: 0xa11, sp: STACK + 32, fp: STACK + 48 };
        let entry = Cursor { pc: 0xe47, sp: BOTTOM, fp: 0 };
        assert_eq!(X86_64::step(&first, BOTTOM, &stack), Ok(Step::Frame(second)));
        assert_eq!(X86_64::step(&second, BOTTOM, &stack), Ok(Step::Frame(entry)));
        assert_eq!(X86_64::step(&entry, BOTTOM, &stack), Ok(Step::Bottom));
    }

    #[test]
    fn a_chain_that_ends_elsewhere_is_unreliable() {
        let stack = memory([0; 8]);
        let at = |fp| X86_64::step(&Cursor { pc: 0xf00, sp: STACK, fp }, BOTTOM, &stack);
        assert_eq!(at(0), Err(Unreliable::CouldNotReadStack(0)), "a zero frame pointer is not the bottom");
        assert_eq!(at(BOTTOM), Err(Unreliable::CouldNotReadStack(BOTTOM)));
        assert_eq!(at(BOTTOM - 8), Err(Unreliable::CouldNotReadStack(BOTTOM)));
        assert_eq!(at(STACK + 4), Err(Unreliable::Misaligned(STACK + 4)));
    }

    #[test]
    fn an_encoded_register_block_is_an_exception() {
        let stack = memory([0; 8]);
        let cursor = Cursor { pc: 0xf00, sp: STACK, fp: (STACK + 24) | 1 };
        assert_eq!(X86_64::step(&cursor, BOTTOM, &stack), Err(Unreliable::Exception(STACK + 24)));
    }
}
