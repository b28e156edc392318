// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of kernels that are built with frame pointers.
//!
//! Every function begins with `push %rbp; mov %rsp,%rbp` (psABI §3.2.2), so at a frame pointer lies the caller's, and one
//! word above it the return address. objtool checks that all code does, assembly included.
//!
//! Entry code of interrupts and exceptions marks its register block for the walk: it sets rbp to the block's address with the
//! lowest bit set (`ENCODE_FRAME_POINTER` in `arch/x86/include/asm/frame.h`;
//! `reference/2016-pt_regs-frame-annotation.txt`). The code that was interrupted may not have had its frame yet, so a walk
//! ends there, as the kernel's reliable one does (`arch/x86/kernel/stacktrace.c`).

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Step, Unreliable};

use super::registers::Registers;
use super::word;

/// From a frame pointer to the return address.
const RETURN_ADDRESS: u64 = 8;
/// From a frame pointer to the stack pointer after the return.
const CALLER_SP: u64 = 16;
/// The bit that makes a frame pointer the address of a register block.
const ENCODED: u64 = 1;

/// Whether a task with this saved frame pointer has never run: `copy_thread()` encodes the register block right above the
/// frame.
pub(super) fn is_forked(fp: u64, sp: Addr) -> bool {
    fp == sp | ENCODED
}

/// Whether the frame is that of the code which called the first function on the stack.
///
/// That function may have realigned its stack, as gcc does where a local variable asks for it: then its frame lies below a
/// copy of the return address, in the next word the original (as `is_last_aligned_frame()` in
/// `arch/x86/kernel/unwind_frame.c` has it for `x86_64_start_kernel()`).
pub(super) fn is_bottom(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> bool {
    cursor.sp == bottom
        || (cursor.sp.wrapping_add(8) == bottom
            && !cursor.exact
            && machine.word(cursor.sp) == Some(cursor.pc))
}

/// `pc' = [fp + 8]`, `sp' = fp + 16`, `fp' = [fp]`.
#[inline(never)]
pub(super) fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
    if is_bottom(cursor, bottom, machine) {
        return Ok(Step::Bottom);
    }
    let fp = cursor.fp;
    if fp & ENCODED != 0 {
        let registers = Registers(fp & !ENCODED);
        return Err(if registers.of_user(machine)? {
            Unreliable::NotTheBottom(registers.0)
        } else {
            Unreliable::Exception(registers.pc(machine)?)
        });
    }
    Ok(Step::Caller(Cursor {
        fp: word(fp, machine)?,
        pc: word(fp.wrapping_add(RETURN_ADDRESS), machine)?,
        sp: fp.wrapping_add(CALLER_SP),
        exact: false,
    }))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use klp_conformance::image::Image;

    use super::super::testing::{BOTTOM, STACK, after_call, function, image, registers, switch_out, walk};
    use super::*;

    const KERNEL_CS: u64 = 0x10;
    const USER_CS: u64 = 0x33;

    /// Function 0, with its frame at `STACK + 0x100`, was called by 1, and that by 2, whose frames' places are given.
    fn three(frames: [Addr; 2]) -> Image {
        let [first, second] = frames;
        let mut image = image(STACK + 0x80);
        switch_out(&mut image, STACK + 0x80, after_call(0), STACK + 0x100);
        image.set(STACK + 0x100, first);
        image.set(STACK + 0x108, after_call(1));
        image.set(first, second);
        image.set(first + 8, after_call(2));
        image
    }

    #[test]
    fn frames_lead_to_the_bottom() {
        let mut image = three([BOTTOM - 0x100, BOTTOM - 16]);
        image.set(BOTTOM - 8, after_call(3));
        assert_eq!(walk(&image), (vec![after_call(0), after_call(1), after_call(2), after_call(3)], None));
    }

    #[test]
    fn an_entry_function_that_realigned_its_stack_is_the_last() {
        let mut image = three([BOTTOM - 0x100, BOTTOM - 24]);
        image.set(BOTTOM - 16, after_call(3));
        image.set(BOTTOM - 8, after_call(3));
        let frames = vec![after_call(0), after_call(1), after_call(2), after_call(3)];
        assert_eq!(walk(&image), (frames.clone(), None));
        image.set(BOTTOM - 8, after_call(4));
        assert_eq!(
            walk(&image),
            (frames, Some(Unreliable::CouldNotReadStack(0))),
            "no copy: some other frame"
        );
    }

    #[test]
    fn a_task_that_never_ran_is_at_the_bottom() {
        let mut image = image(STACK + 0x80);
        switch_out(&mut image, BOTTOM, function(5), BOTTOM | 1);
        assert_eq!(walk(&image), (vec![function(5)], None));
        switch_out(&mut image, BOTTOM - 32, function(5), BOTTOM | 1);
        assert_eq!(
            walk(&image),
            (vec![], Some(Unreliable::NotAfterCall(function(5)))),
            "another block's address"
        );
    }

    #[test]
    fn a_register_block_of_the_kernel_is_an_exception() {
        let at = BOTTOM - 0x400;
        let mut image = three([at - 16, at | 1]);
        registers(&mut image, at, [BOTTOM - 16, function(4) + 1, KERNEL_CS, at + 168]);
        let frames = vec![after_call(0), after_call(1), after_call(2)];
        let exception = Some(Unreliable::Exception(function(4) + 1));
        assert_eq!(walk(&image), (frames.clone(), exception));
        registers(&mut image, at, [0, 0x40_1000, USER_CS, 0x7fff_0000]);
        assert_eq!(walk(&image), (frames, Some(Unreliable::NotTheBottom(at))));
    }

    #[test]
    fn a_chain_that_ends_elsewhere_is_unreliable() {
        let frames = vec![after_call(0), after_call(1), after_call(2)];
        for (second, reason) in [
            (0, Unreliable::CouldNotReadStack(0)),
            (STACK + 0x4000, Unreliable::CouldNotReadStack(STACK + 0x4000)),
            (STACK + 0x204, Unreliable::Misaligned(STACK + 0x204)),
            (STACK + 0x200, Unreliable::DidNotAdvance(STACK + 0x210)),
        ] {
            let image = three([STACK + 0x200, second]);
            assert_eq!(walk(&image), (frames.clone(), Some(reason)), "{second:#x}");
        }
        let mut image = three([STACK + 0x200, STACK + 0x300]);
        image.set(STACK + 0x308, after_call(3) + 1);
        assert_eq!(walk(&image), (frames.clone(), Some(Unreliable::NotAfterCall(after_call(3) + 1))));
        image.set(STACK + 0x308, 0x1234);
        assert_eq!(walk(&image), (frames, Some(Unreliable::NotText(0x1234))));
    }
}
