// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of the toy architecture.

use crate::machine::Image;
use klp_core::Addr;
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Found, Frame, ReturnTrampoline, Saved, Start, Unreliable};

use crate::arch::{NOP, Toy};

pub(crate) type Arch = Toy<false>;

/// A task's own stack.
pub(crate) const STACK: Addr = 0xffff_8000_0010_0000;
pub(crate) const STACK_SIZE: u64 = 0x1000;
/// Where its last frame ends.
pub(crate) const BOTTOM: Addr = STACK + STACK_SIZE - 0x80;
/// Two stacks that an interrupt, and one on top of it, may be on.
pub(crate) const IRQ: Addr = 0xffff_8000_0020_0000;
pub(crate) const NMI: Addr = 0xffff_8000_0008_0000;

/// A function that calls with every other instruction.
pub(crate) const FUNCTION: Addr = 0xffff_ffff_8100_0000;
pub(crate) const FUNCTION_SIZE: u64 = 0x400;

pub(crate) const CALL: [u8; 4] = [2, 0, 0, 0];

/// What follows call `i`.
pub(crate) const fn after_call(i: u64) -> Addr {
    FUNCTION + 8 * i + 4
}

/// From a frame's stack pointer to its record, and to its caller's stack pointer.
pub(crate) const RECORD: u64 = 0x20;
pub(crate) const FRAME: u64 = RECORD + 16;
/// Where a walk of [`chain`] starts.
pub(crate) const SP: Addr = STACK + 0x100;

/// The stack pointer and frame pointer of frame `i`, the newest being 0, where nothing has been changed.
pub(crate) const fn sp(i: u64) -> Addr {
    SP + FRAME * i
}

pub(crate) const fn fp(i: u64) -> Addr {
    sp(i) + RECORD
}

/// An empty stack, and text.
pub(crate) fn empty() -> Image {
    let mut image = Image::new(Range { start: STACK, size: STACK_SIZE }, BOTTOM);
    let calls = usize::try_from(FUNCTION_SIZE / 8).expect("small");
    image.add_text(FUNCTION, &[CALL, NOP].repeat(calls), Code::Function);
    image
}

/// A task that is switched out `depth` calls deep: frame `i` continues after call `i`.
pub(crate) fn chain(depth: u64) -> Image {
    let mut image = empty();
    image.start = Start::SwitchedOut(Saved { sp: sp(0), pc: after_call(0), fp: fp(0) });
    for i in 0..depth {
        image.set(fp(i), if i + 1 == depth { BOTTOM } else { fp(i + 1) });
        image.set(fp(i) + 8, after_call(i + 1));
    }
    image
}

/// Writes the register block of an exception.
pub(crate) fn set_block(image: &mut Image, at: Addr, interrupted: Cursor) {
    image.set(at, interrupted.fp);
    image.set(at + 8, interrupted.pc);
    image.set(at + 16, interrupted.sp);
}

/// What is checked of a frame: where it continues, and how it was found.
pub(crate) fn seen(frames: &[Frame]) -> Vec<(Addr, Found)> {
    frames.iter().map(|frame| (frame.cursor.pc, frame.found)).collect()
}

/// The frames of [`chain`].
pub(crate) fn whole(depth: u64) -> Vec<(Addr, Found)> {
    let found = |i| if i == 0 { Found::Start } else { Found::Chain };
    (0..=depth).map(|i| (after_call(i), found(i))).collect()
}

/// Checks that a walk is reliable and what it saw.
#[track_caller]
pub(crate) fn assert_reliable(image: &Image, expected: &[(Addr, Found)]) {
    let frames = image.walk().expect("a reliable walk");
    assert_eq!(seen(&frames), expected);
}

/// Checks how a walk failed, and how many frames it had seen by then.
#[track_caller]
pub(crate) fn assert_unreliable(image: &Image, frames: usize, reason: Unreliable) {
    let (found, why) = image.walk().expect_err("an unreliable walk");
    assert_eq!((found.len(), why), (frames, reason), "{found:x?}");
}

/// Gives `keeper` return addresses, the newest first.
pub(crate) fn keep(image: &mut Image, keeper: ReturnTrampoline, addresses: &[Addr]) {
    image.kept[keeper as usize] = addresses.to_vec();
}
