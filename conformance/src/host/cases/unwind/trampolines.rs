// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Return addresses that tracers, probes and patches keep.

use klp_core::unwind::{Code, Found, ReturnTrampoline, Unreliable};
use klp_core::{Addr, Architecture};

use super::{Check, Description, ensure, ensure_eq, reliable};
use crate::host::damage::check;
use crate::host::stack::{Sample, walk};

/// The numbers of the frames whose return address somebody may keep.
fn returned_to(sample: &Sample) -> Vec<usize> {
    // A task that has never run starts where no function returns to.
    let called = |i: &usize| sample.frames[*i].slot.is_some() && sample.frames.len() > 1;
    (0..sample.frames.len()).filter(called).collect()
}

fn trampoline(sample: &Sample, keeper: ReturnTrampoline) -> Addr {
    let of_keeper = |code: &Code| *code == Code::ReturnTrampoline(keeper);
    sample.image.code.iter().find(|(_, code)| of_keeper(code)).expect("every draft has them").0.start
}

/// Gives the return address of frame `i` to a keeper. The newest must be given first.
fn keep(sample: &mut Sample, i: usize, keeper: ReturnTrampoline) {
    let slot = sample.frames[i].slot.expect("a frame that was returned to");
    sample.image.set(slot, trampoline(sample, keeper));
    sample.image.kept[keeper as usize].push(sample.frames[i].pc);
    sample.frames[i].found = Found::Kept(keeper);
}

/// Every choice of frames for each keeper.
fn every_choice(sample: &Sample) -> Vec<(ReturnTrampoline, Sample)> {
    let frames = returned_to(sample);
    let choices = 1..1_u32 << frames.len();
    let mut all = Vec::new();
    for choice in choices {
        for keeper in ReturnTrampoline::ALL {
            let mut chosen = sample.clone();
            for (_, &i) in frames.iter().enumerate().filter(|(bit, _)| choice & 1 << bit != 0) {
                keep(&mut chosen, i, keeper);
            }
            all.push((keeper, chosen));
        }
    }
    all
}

pub(super) fn kept<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        for (keeper, sample) in every_choice(&good) {
            let walked =
                check::<A>(&d.stacks, &sample.image).map_err(|what| format!("{}: {what}", kind.name))?;
            ensure_eq!((walked.seen(), walked.end), (sample.seen(), Ok(())), "{}, {keeper:?}", kind.name);
        }
        // All keepers, in turn.
        let mut sample = good.clone();
        for (i, keeper) in returned_to(&good).into_iter().zip(ReturnTrampoline::ALL.into_iter().cycle()) {
            keep(&mut sample, i, keeper);
        }
        let walked = walk::<A>(&sample.image);
        ensure_eq!((walked.seen(), walked.end), (sample.seen(), Ok(())), "{}, each in turn", kind.name);
    }
    Ok(())
}

pub(super) fn lost<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        for (keeper, mut sample) in every_choice(&good) {
            let kept = &mut sample.image.kept[keeper as usize];
            kept.pop();
            let left = kept.len();
            let walked = walk::<A>(&sample.image);
            // The first frame for which nothing is kept.
            let first =
                sample.frames.iter().enumerate().filter(|(_, frame)| frame.found == Found::Kept(keeper));
            let first = first.map(|(i, _)| i).nth(left).expect("one more than is kept");
            let expected = (first, Err(Unreliable::ReturnLost(keeper)));
            ensure_eq!((walked.frames.len(), walked.end), expected, "{}", kind.name);
        }
    }
    Ok(())
}

pub(super) fn left<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        for keeper in ReturnTrampoline::ALL {
            let mut sample = good.clone();
            sample.image.kept[keeper as usize].push(good.frames[0].pc);
            let walked = walk::<A>(&sample.image);
            let expected = (good.seen(), Err(Unreliable::ReturnLeft(keeper)));
            ensure_eq!((walked.seen(), walked.end), expected, "{}", kind.name);
        }
    }
    Ok(())
}

/// A function that is traced and probed: the tracer keeps the trampoline of probes, which keep the return address.
pub(super) fn nested<A: Architecture>(d: &'static Description) -> Check {
    let mut found = 0;
    for (kind, good) in reliable(d) {
        for i in returned_to(&good) {
            for (outer, inner) in [
                (ReturnTrampoline::Graph, ReturnTrampoline::Probe),
                (ReturnTrampoline::Probe, ReturnTrampoline::Graph),
                (ReturnTrampoline::Graph, ReturnTrampoline::Patch),
                (ReturnTrampoline::Graph, ReturnTrampoline::Graph),
            ] {
                let mut sample = good.clone();
                keep(&mut sample, i, outer);
                let pc = sample.image.kept[outer as usize].pop().expect("what was kept");
                let between = trampoline(&sample, inner);
                sample.image.kept[outer as usize].push(between);
                sample.image.kept[inner as usize].push(pc);
                sample.frames[i].found = Found::Kept(inner);
                let walked = walk::<A>(&sample.image);
                let expected = (sample.seen(), Ok(()));
                ensure_eq!((walked.seen(), walked.end), expected, "{}: {outer:?} over {inner:?}", kind.name);
                found += 1;
            }
        }
    }
    ensure!(found > 0, "no frames");
    Ok(())
}
