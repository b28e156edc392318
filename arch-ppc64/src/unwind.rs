// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of ppc64 (ELFv2, "The Stack Frame").
//!
//! ```text
//! caller.sp = [sp]            back chain word
//! caller.pc = [caller.sp+16]  a function saves its return address in its caller's frame
//! ```
//!
//! Hence the LR save word of the frame a walk starts in is never read: the task's last function need not have called
//! anything (`arch/powerpc/kernel/stacktrace.c`, "We can only trust the bottom frame's backlink").

use klp_core::Addr;
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind};

use crate::Ppc64;

/// Size in bytes of the smallest frame: back chain, CR save, LR save, TOC save ("Minimum Stack Frame Elements").
const MIN_FRAME: u64 = 32;

/// Offset of the LR save doubleword from the back chain word (same section).
const LR_SAVE: u64 = 16;

/// What exception entry leaves in its frame: "REGS" as the bytes lie in memory (`STACK_FRAME_REGS_MARKER`,
/// `arch/powerpc/include/asm/ptrace.h`). Exception exit clears it again.
const REGS_MARKER: u64 = 0x5347_4552;

/// Where in an exception frame the marker lies, bytes from its stack pointer: above a minimal frame, or in older kernels
/// above what was a minimal frame in ELFv1 (`STACK_INT_FRAME_MARKER`, `STACK_FRAME_MARKER`, same file). Both are looked
/// at, since a marker in the wrong place can only make a walk fail that would have been good.
const REGS_MARKER_OFFSETS: [u64; 2] = [32, 96];

impl Unwind for Ppc64 {
    /// "General Stack Frame Requirements": quadword aligned.
    const FRAME_ALIGN: u64 = 16;

    const SAVES_PC: bool = false;

    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let _ = machine;
        Ok(Cursor { pc: 0, sp: saved.sp, fp: 0, exact: false })
    }

    /// `bottom` is the stack pointer that entry code set up before it called C: that frame's own chain word is user
    /// mode's stack pointer, or zero. `cursor.pc` and `cursor.fp` are not used.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let read = |addr: Addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));
        let aligned = |sp: Addr| {
            if sp.is_multiple_of(Self::FRAME_ALIGN) { Ok(sp) } else { Err(Unreliable::Misaligned(sp)) }
        };

        let callee = aligned(cursor.sp)?;
        let sp = read(callee)?;
        if sp <= callee {
            return Err(Unreliable::DidNotAdvance(sp));
        }
        if sp == bottom {
            return Ok(Step::Bottom);
        }
        if sp > bottom.saturating_sub(MIN_FRAME) {
            return Err(Unreliable::CouldNotReadStack(sp));
        }
        aligned(sp)?;
        if REGS_MARKER_OFFSETS.iter().any(|offset| machine.word(sp + offset) == Some(REGS_MARKER)) {
            return Err(Unreliable::Exception(sp));
        }
        Ok(Step::Caller(Cursor { pc: read(sp + LR_SAVE)?, sp, fp: 0, exact: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: Addr = 0xc000_0000_0810_0000;
    const WORDS: usize = 64;
    const BOTTOM: Addr = STACK + 0x1a0;

    /// Three frames: switched out at +0x20, its caller at +0xa0, that one's at +0x120, entry code at +0x1a0.
    fn stack() -> [u64; WORDS] {
        let mut words = [0; WORDS];
        for sp in [0x20, 0xa0, 0x120] {
            words[sp / 8] = STACK + sp as u64 + 0x80;
            words[sp / 8 + 2] = 0xc000_0000_0001_0000 + sp as u64;
        }
        words
    }

    fn step(words: &[u64; WORDS], offset: u64) -> Result<Step, Unreliable> {
        let cursor = Cursor { pc: 0, sp: STACK + offset, fp: 0 };
        let memory = |addr: Addr| {
            usize::try_from(addr.checked_sub(STACK)? / 8).ok().and_then(|i| words.get(i).copied())
        };
        Ppc64::step(&cursor, BOTTOM, &memory)
    }

    #[test]
    fn the_back_chain_leads_to_the_bottom() {
        let words = stack();
        let frame = |sp| Ok(Step::Frame(Cursor { pc: 0xc000_0000_0001_0000 + sp, sp: STACK + sp, fp: 0 }));
        assert_eq!(step(&words, 0x20), frame(0xa0));
        assert_eq!(step(&words, 0xa0), frame(0x120));
        assert_eq!(step(&words, 0x120), Ok(Step::Bottom));
    }

    #[test]
    fn a_broken_chain_is_unreliable() {
        let broken = |back_chain: u64| {
            let mut words = stack();
            words[0x20 / 8] = back_chain;
            step(&words, 0x20)
        };
        assert_eq!(broken(0), Err(Unreliable::DidNotAdvance(0)));
        assert_eq!(broken(STACK + 0x20), Err(Unreliable::DidNotAdvance(STACK + 0x20)));
        assert_eq!(broken(STACK + 0xa8), Err(Unreliable::Misaligned(STACK + 0xa8)));
        assert_eq!(
            broken(BOTTOM - 16),
            Err(Unreliable::CouldNotReadStack(BOTTOM - 16)),
            "no room for a frame"
        );
        assert_eq!(broken(BOTTOM + 16), Err(Unreliable::CouldNotReadStack(BOTTOM + 16)));
        assert_eq!(step(&stack(), 0x28), Err(Unreliable::Misaligned(STACK + 0x28)));
        assert_eq!(step(&stack(), 0x200), Err(Unreliable::CouldNotReadStack(STACK + 0x200)));
    }

    #[test]
    fn an_exception_frame_is_unreliable_in_either_layout() {
        for offset in REGS_MARKER_OFFSETS {
            let mut words = stack();
            words[(0xa0 + usize::try_from(offset).expect("small")) / 8] = REGS_MARKER;
            assert_eq!(step(&words, 0x20), Err(Unreliable::Exception(STACK + 0xa0)));
        }
    }

    #[test]
    fn the_frame_a_walk_starts_in_may_hold_anything_but_its_chain() {
        let mut words = stack();
        words[0x20 / 8 + 2] = 0xdead;
        words[(0x20 + 32) / 8] = REGS_MARKER;
        assert!(matches!(step(&words, 0x20), Ok(Step::Frame(_))));
    }
}
