// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A task's return stack: what redirected calls have to put back when they return.
//!
//! Some ABIs let a caller rely on more than the callee-saved registers: across a local call on Power ELFv2 the TOC
//! pointer is the caller's (§2.2.1), but a replacement in another module brings its own. Nothing may be pushed on the
//! machine stack between caller and replacement, since the parameter save area lies at fixed offsets from the stack
//! pointer (§2.2.3.2). The kernel's own livepatch keeps a second stack at the low end of the task's stack, growing up
//! towards the machine stack (`arch/powerpc/kernel/trace/ftrace_entry.S`, livepatch_handler), in memory that only
//! exists with CONFIG_LIVEPATCH. This one lies in the same place and needs nothing from the kernel's configuration.
//!
//! Layout, in 64-bit words from the low end of the task's stack:
//!
//! | word | holds |
//! |---|---|
//! | 0 | the kernel's end-of-stack magic, never touched |
//! | 1 | owner: a value derived from the task; anything else means that this stack was never used by this task |
//! | 2 | count of frames |
//! | 3… | frames of three words: return address, stack pointer, context |
//!
//! The return stub (assembly in the kernel module) pops with the same layout: change both together. Entered before the
//! replacement, it also completes the newest frame.
//!
//! Ordering: frames are pushed and popped by the task itself and by interrupts and NMIs on top of it, strictly nested.
//! A push first raises the count, then fills the frame; a pop first reads the frame, then lowers the count. An
//! interrupt between any two of these steps finds a count that covers every frame in use.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use crate::Addr;
use crate::ftrace::ReturnFrame;

/// Word index of the owner.
pub const OWNER: usize = 1;
/// Word index of the count of frames.
pub const COUNT: usize = 2;
/// Word index of the first frame.
pub const FRAMES: usize = 3;
/// Words in a frame.
pub const FRAME_WORDS: usize = 3;
/// Words that a return stack may use at most: a quarter of the smallest kernel stack (16 KiB).
pub const MAX_WORDS: usize = 512;
/// Bytes that must stay free between the return stack and the machine stack.
pub const RED_ZONE: u64 = 2048;

/// The return stack is full: another redirected call could not return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// One task's return stack, in place.
#[derive(Clone, Copy, Debug)]
pub struct ReturnStack<'a> {
    words: &'a [AtomicU64],
    base: Addr,
}

impl<'a> ReturnStack<'a> {
    /// The return stack of the task whose machine stack starts (at its low end) at address `base` with `words`.
    ///
    /// `owner` is never zero and differs between tasks. The stack is emptied when it is not this task's.
    pub fn claim(words: &'a [AtomicU64], base: Addr, owner: u64) -> ReturnStack<'a> {
        if words[OWNER].load(Ordering::Relaxed) != owner {
            words[COUNT].store(0, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            words[OWNER].store(owner, Ordering::Relaxed);
        }
        ReturnStack { words, base }
    }

    /// The return stack of the task whose machine stack starts at address `base`, only to be looked at. `None` if the task
    /// has never used it. The task is held still.
    pub fn of(words: &'a [AtomicU64], base: Addr, owner: u64) -> Option<ReturnStack<'a>> {
        (words[OWNER].load(Ordering::Relaxed) == owner).then_some(ReturnStack { words, base })
    }

    /// Frame `nth`, the newest being 0.
    pub fn newest(&self, nth: usize) -> Option<ReturnFrame> {
        Some(self.frame(self.count().checked_sub(1)?.checked_sub(nth)?))
    }

    /// Pushes the frame of a call that is being redirected.
    ///
    /// Looks at no frame below. One that can no longer return (its task never came back from the call, as in
    /// `do_exit`) stays until a call below it returns. Dropping it here would need its stack pointer, and an interrupt
    /// that pushes may find the frame it interrupted counted but not filled in yet.
    ///
    /// # Errors
    ///
    /// [`Full`] when the stack has no room; nothing is changed, and the call must not be redirected.
    pub fn push(&self, frame: ReturnFrame, stack_size: u64) -> Result<(), Full> {
        let count = self.count();
        let at = FRAMES + count * FRAME_WORDS;
        let end = at + FRAME_WORDS;
        let on_this_stack = frame.sp.wrapping_sub(self.base) < stack_size;
        let room_below_sp = !on_this_stack || self.base + 8 * end as u64 + RED_ZONE <= frame.sp;
        if end > self.words.len().min(MAX_WORDS) || !room_below_sp {
            return Err(Full);
        }
        self.words[COUNT].store(count as u64 + 1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.words[at].store(frame.ra, Ordering::Relaxed);
        self.words[at + 1].store(frame.sp, Ordering::Relaxed);
        self.words[at + 2].store(frame.context, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Pops the frame of the call that returns with this stack pointer, dropping those that never will.
    ///
    /// `None` means that the return stack does not belong to this call; the task cannot continue.
    pub fn pop(&self, sp: u64) -> Option<ReturnFrame> {
        let mut count = self.count();
        while count > 0 {
            count -= 1;
            let frame = self.frame(count);
            if frame.sp == sp {
                compiler_fence(Ordering::SeqCst);
                self.words[COUNT].store(count as u64, Ordering::Relaxed);
                return Some(frame);
            }
        }
        None
    }

    /// How many frames there are.
    pub fn count(&self) -> usize {
        usize::try_from(self.words[COUNT].load(Ordering::Relaxed)).unwrap_or(0).min(MAX_WORDS / FRAME_WORDS)
    }

    /// Frame `index`, the oldest being 0.
    fn frame(&self, index: usize) -> ReturnFrame {
        let word = |i: usize| self.words[FRAMES + index * FRAME_WORDS + i].load(Ordering::Relaxed);
        ReturnFrame { ra: word(0), sp: word(1), context: word(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Addr = 0xc000_0000_0810_0000;
    const SIZE: u64 = 16 * 1024;

    fn frame(sp: u64) -> ReturnFrame {
        ReturnFrame { ra: sp + 1, sp, context: sp + 2 }
    }

    fn memory() -> [AtomicU64; MAX_WORDS] {
        core::array::from_fn(|_| AtomicU64::new(0x5747_4552))
    }

    #[test]
    fn what_is_pushed_last_is_popped_first() {
        let words = memory();
        let stack = ReturnStack::claim(&words, BASE, 1);
        assert_eq!(stack.count(), 0, "whatever was there before is not this task's");
        let (outer, inner) = (frame(BASE + 0x3000), frame(BASE + 0x2000));
        let tail_call = ReturnFrame { context: 7, ..inner };
        for frame in [outer, inner, tail_call] {
            assert_eq!(stack.push(frame, SIZE), Ok(()));
        }
        assert_eq!(
            [0, 1, 2, 3].map(|nth| stack.newest(nth)),
            [Some(tail_call), Some(inner), Some(outer), None]
        );
        assert!(ReturnStack::of(&words, BASE, 1).is_some() && ReturnStack::of(&words, BASE, 2).is_none());
        assert_eq!(stack.pop(inner.sp), Some(tail_call));
        assert_eq!(stack.pop(inner.sp), Some(inner));
        assert_eq!(ReturnStack::claim(&words, BASE, 1).pop(outer.sp), Some(outer));
        assert_eq!(stack.pop(outer.sp), None);
    }

    #[test]
    fn a_return_drops_the_calls_that_never_returned() {
        let words = memory();
        let stack = ReturnStack::claim(&words, BASE, 1);
        for sp in [0x3000, 0x2000, 0x1800] {
            stack.push(frame(BASE + sp), SIZE).expect("room");
        }
        assert_eq!(stack.pop(BASE + 0x3000), Some(frame(BASE + 0x3000)));
        assert_eq!(stack.count(), 0);
    }

    #[test]
    fn an_interrupt_between_the_steps_of_a_push_leaves_them_alone() {
        let words = memory();
        let stack = ReturnStack::claim(&words, BASE, 1);
        // Counted, and not filled in: the words are an old frame's, of a deeper call.
        words[COUNT].store(1, Ordering::Relaxed);
        words[FRAMES + 1].store(BASE + 0x1000, Ordering::Relaxed);
        let interrupt = frame(BASE + 0x2000);
        assert_eq!(stack.push(interrupt, SIZE), Ok(()));
        assert_eq!(stack.pop(interrupt.sp), Some(interrupt));
        assert_eq!(stack.count(), 1);
    }

    #[test]
    fn a_full_stack_refuses() {
        let words = memory();
        let stack = ReturnStack::claim(&words, BASE, 1);
        let frames = (MAX_WORDS - FRAMES) / FRAME_WORDS;
        for _ in 0..frames {
            assert_eq!(stack.push(frame(BASE + SIZE - 64), SIZE), Ok(()));
        }
        assert_eq!(stack.push(frame(BASE + SIZE - 64), SIZE), Err(Full));
        assert_eq!(stack.count(), frames);
    }

    #[test]
    fn the_machine_stack_keeps_its_room() {
        let words = memory();
        let stack = ReturnStack::claim(&words, BASE, 1);
        let first_end = BASE + 8 * (FRAMES + FRAME_WORDS) as u64;
        assert_eq!(stack.push(frame(first_end + RED_ZONE - 8), SIZE), Err(Full));
        assert_eq!(stack.push(frame(first_end + RED_ZONE), SIZE), Ok(()));
        assert_eq!(stack.push(frame(BASE - 0x1000), SIZE), Ok(()), "an interrupt stack");
    }
}
