// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks whose memory is corrupt, and what must hold of a walk over any memory whatever.

use std::collections::BTreeSet;

use klp_core::unwind::{Code, Cursor, MAX_FRAMES, Machine, Memory, Saved, Start};
use klp_core::{Addr, Architecture};

use super::Check;
use super::stack::{Sample, Stacks, Walked, walk};
use crate::image::Image;

/// Walks, whatever the stacks and tables hold, and checks that
///
/// - nothing is read off the stacks, or misaligned;
/// - there are at most [`MAX_FRAMES`] frames;
/// - each frame is in code that can be walked, and above the one it called, or on a stack further out.
///
/// # Errors
///
/// What does not hold.
pub fn survive<A: Architecture>(image: &Image) -> Result<Walked, String> {
    let walked = walk::<A>(image);
    if let Some(stray) = walked.stray(image) {
        return Err(format!("{stray:#x} was read, which is not a word of the stacks"));
    }
    if walked.frames.len() > MAX_FRAMES {
        return Err(format!("{} frames", walked.frames.len()));
    }
    let stack_of =
        |sp: Addr| image.stacks.iter().position(|stack| sp.wrapping_sub(stack.start) <= stack.size);
    for (callee, caller) in walked.frames.iter().zip(walked.frames.iter().skip(1)) {
        let (from, to) = (stack_of(callee.cursor.sp), stack_of(caller.cursor.sp));
        if !(from < to || from == to && callee.cursor.sp < caller.cursor.sp) {
            return Err(format!("{caller:x?} is not above {callee:x?}"));
        }
    }
    for frame in &walked.frames {
        let code = image.code(frame.cursor.in_function());
        if matches!(code, Code::NotText | Code::Generated | Code::ReturnTrampoline(_)) {
            return Err(format!("{frame:x?} is in {code:?}"));
        }
    }
    Ok(walked)
}

/// Walks, whatever the stacks hold, and checks besides that a reliable list is a whole chain by what the words say
/// ([`Stacks::is_chain`]), read by other code.
///
/// # Errors
///
/// What does not hold.
pub fn check<A: Architecture>(stacks: &Stacks, image: &Image) -> Result<Walked, String> {
    let walked = survive::<A>(image)?;
    if walked.end.is_ok() && !stacks.is_chain(image, &walked.frames) {
        return Err(format!("called reliable, which is no whole chain: {:x?}", walked.seen()));
    }
    Ok(walked)
}

/// Walks a sample in which the word at `at` was replaced by `word`, and checks besides that no frame is missing: if the walk
/// is reliable, all true frames are in its list, unless the word *is* a valid one, the address of code or of another frame of
/// the sample. Then nothing tells it from a true one, and the list is what follows from it.
///
/// # Errors
///
/// What does not hold.
pub fn check_word<A: Architecture>(stacks: &Stacks, sample: &Sample, at: Addr, word: u64) -> Check {
    let mut image = sample.image.clone();
    image.set(at, word);
    let walked = check::<A>(stacks, &image).map_err(|what| format!("{word:#x} at {at:#x}: {what}"))?;
    if walked.end.is_err() || sample.is_within(&walked.frames) {
        return Ok(());
    }
    // A return address may lie just behind its function.
    let is_code = [word, A::strip_return_address(word)]
        .into_iter()
        .flat_map(|pc| [pc, pc.wrapping_sub(1)])
        .any(|pc| image.code(pc) != Code::NotText);
    if is_code || sample.frame_addresses(stacks).contains(&word) {
        return Ok(());
    }
    Err(format!(
        "{word:#x} at {at:#x}, where it was {:x?}, gives a reliable list:\n     found {:x?}\n  there are {:x?}",
        sample.image.word(at),
        walked.seen(),
        sample.whole
    ))
}

/// The addresses of the words that a walk of the sample reads.
pub fn words_read<A: Architecture>(sample: &Sample) -> BTreeSet<Addr> {
    walk::<A>(&sample.image).reads.into_iter().filter(|at| at.is_multiple_of(8)).collect()
}

/// Values for a word: each address on the stacks, a few that are near, and what is no address at all. Return addresses too.
pub fn values(sample: &Sample) -> Vec<u64> {
    let mut values = vec![0, 1, 8, 16, u64::MAX, u64::MAX - 7, 1 << 63, 0x5347_4552];
    for stack in &sample.image.stacks {
        values.extend((stack.start..=stack.start + stack.size).step_by(8));
        values.extend([stack.start - 16, stack.start - 8, stack.start + stack.size + 16, stack.start + 1]);
    }
    for frame in &sample.frames {
        values.extend([frame.pc, frame.pc + 1, frame.pc.wrapping_sub(4)]);
    }
    values.extend(sample.image.code.iter().flat_map(|(range, _)| [range.start, range.start + 0x20]));
    values
}

/// Other registers to start with.
pub fn starts(start: Start) -> Vec<Start> {
    let near =
        |value: u64| [0, 1, 8, 16, value.wrapping_sub(16), value ^ 8, value ^ 1, value + (1 << 30), u64::MAX];
    match start {
        Start::SwitchedOut(saved) => {
            let sps = near(saved.sp).map(|sp| Saved { sp, ..saved });
            let pcs = near(saved.pc).map(|pc| Saved { pc, ..saved });
            let fps = near(saved.fp).map(|fp| Saved { fp, ..saved });
            sps.into_iter().chain(pcs).chain(fps).map(Start::SwitchedOut).collect()
        }
        Start::At(cursor) => {
            let mut starts = Vec::new();
            for value in near(cursor.sp) {
                starts.push(Start::At(Cursor { sp: value, ..cursor }));
            }
            for value in near(cursor.pc) {
                starts.push(Start::At(Cursor { pc: value, ..cursor }));
            }
            starts
        }
    }
}
