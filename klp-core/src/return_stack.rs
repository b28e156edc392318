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
//! The return stub (assembly in the kernel module) pops with the same layout: change both together.
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

    /// Pushes the frame of a call that is being redirected.
    ///
    /// Frames that can no longer return are dropped first: a frame whose stack pointer is not above the new one's was
    /// left behind by a task that never came back (`do_exit`), as long as both are on the machine stack that `words`
    /// belongs to.
    ///
    /// # Errors
    ///
    /// [`Full`] when the stack has no room; nothing is changed, and the call must not be redirected.
    pub fn push(&self, frame: ReturnFrame, stack_size: u64) -> Result<(), Full> {
        let own = |sp: u64| sp.wrapping_sub(self.base) < stack_size;
        let mut count = self.count();
        if own(frame.sp) {
            while count > 0 && own(self.frame(count - 1).sp) && self.frame(count - 1).sp < frame.sp {
                count -= 1;
            }
        }
        let at = FRAMES + count * FRAME_WORDS;
        let end = at + FRAME_WORDS;
        let room_below_sp = !own(frame.sp) || self.base + 8 * end as u64 + RED_ZONE <= frame.sp;
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
