// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Memory that cannot be read, or holds what it should not.

use std::collections::BTreeSet;
use std::ops::Range;

use klp_core::unwind::{Memory, Unreliable};
use klp_core::{Addr, Architecture};
use proptest::prelude::*;

use super::{Check, Description, ensure, ensure_eq, reliable, samples};
use crate::host::damage::{check, check_word, starts, values, words_read};
use crate::host::random::for_all;
use crate::host::stack::{Sample, walk, walk_without};

/// Without any one word, the walk is unreliable if it needs the word, and as before if it does not.
pub(super) fn unreadable<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        let slots: BTreeSet<Addr> = good.frames.iter().filter_map(|frame| frame.slot).collect();
        for hole in words_read::<A>(&good) {
            let walked = walk_without::<A>(&good.image, Some(hole));
            match walked.end {
                Ok(()) => {
                    ensure_eq!(walked.seen(), good.seen(), "{} without the word at {hole:#x}", kind.name)
                }
                // Without words that tell how frames are to be read, other reasons are as good.
                Err(reason) => ensure!(
                    reason == Unreliable::CouldNotReadStack(hole) || !slots.contains(&hole),
                    "{} without the return address at {hole:#x}: {reason:x?}",
                    kind.name
                ),
            }
            let needed = slots.contains(&hole);
            ensure!(
                !needed || walked.end.is_err(),
                "{}: does not need the return address at {hole:#x}",
                kind.name
            );
        }
    }
    Ok(())
}

/// What each link is changed to; the result must be unreliable, or not depend on it. Other frames' addresses are left out:
/// a chain through one is whole. Those of frames below are not, a chain through one has no end.
fn links<A: Architecture>(
    d: &'static Description,
    targets: impl Fn(&Sample, u64) -> Vec<u64>,
) -> Result<usize, String> {
    let mut refused = 0;
    for (kind, good) in reliable(d) {
        let frames = good.frame_addresses(&d.stacks);
        for &link in &good.links {
            let old = good.image.word(link).unwrap_or_default();
            let below = stack_below(&good, old);
            let is_frame =
                |target: &u64| *target == old || frames.contains(target) && !below.contains(target);
            for target in targets(&good, old).into_iter().filter(|target| !is_frame(target)) {
                let mut image = good.image.clone();
                image.set(link, target);
                let walked =
                    check::<A>(&d.stacks, &image).map_err(|what| format!("{}: {what}", kind.name))?;
                match walked.end {
                    Ok(()) => ensure!(
                        good.is_within(&walked.frames),
                        "{}, {target:#x} at {link:#x}: {:x?}",
                        kind.name,
                        walked.seen()
                    ),
                    Err(_) => refused += 1,
                }
            }
        }
    }
    Ok(refused)
}

/// The part of its stack that lies below an address; empty for what is no address on a stack.
fn stack_below(sample: &Sample, addr: u64) -> Range<u64> {
    let stack = sample.image.stacks.iter().find(|stack| addr.wrapping_sub(stack.start) <= stack.size);
    stack.map_or(0..0, |stack| stack.start..addr)
}

pub(super) fn not_advancing<A: Architecture>(d: &'static Description) -> Check {
    let lower = |good: &Sample, old: u64| {
        let below = stack_below(good, old);
        let frames = good.frame_addresses(&d.stacks).into_iter().filter(|target| below.contains(target));
        frames.chain([0, below.start, below.start.wrapping_sub(0x1000)]).collect()
    };
    let refused = links::<A>(d, lower)?;
    ensure!(refused > d.stacks.kinds.len(), "only {refused} were refused");
    Ok(())
}

pub(super) fn misaligned<A: Architecture>(d: &'static Description) -> Check {
    ensure!(A::FRAME_ALIGN.is_multiple_of(8), "FRAME_ALIGN is {}", A::FRAME_ALIGN);
    let refused = links::<A>(d, |_, old| [1, 2, 4, 7].map(|off| old.wrapping_add(off)).to_vec())?;
    ensure!(refused > d.stacks.kinds.len(), "only {refused} were refused");
    Ok(())
}

/// Where the bottom is not where the chain ends, or the chain leads out of the stack.
pub(super) fn elsewhere<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        let frames = good.frame_addresses(&d.stacks);
        let bottom = good.image.bottom;
        // Register blocks of different kernels differ by less.
        let offs = [0x40, 0x80, 0xc0, 0x200, 0x1000, u64::MAX - bottom];
        for bottom in offs.iter().flat_map(|off| [bottom.wrapping_add(*off), bottom.wrapping_sub(*off)]) {
            if frames.contains(&bottom) {
                continue;
            }
            let mut image = good.image.clone();
            image.bottom = bottom;
            let walked = walk::<A>(&image);
            ensure!(walked.end.is_err(), "{}, the bottom at {bottom:#x}: {:x?}", kind.name, walked.seen());
        }
    }
    let refused = links::<A>(d, |good, _| {
        let top = good.image.stacks.last().map_or(0, |stack| stack.start + stack.size);
        let out = [top, top + 0x10_0000, top - 8, top - 16, top - 32];
        out.into_iter().filter(|target| *target != good.image.bottom).collect()
    })?;
    ensure!(refused > d.stacks.kinds.len(), "only {refused} were refused");
    Ok(())
}

/// Each word that a walk reads, replaced by every address on the stacks and by what is no address.
pub(super) fn one_word<A: Architecture>(d: &'static Description) -> Check {
    for (kind, depth, sample) in samples(d).filter(|(_, depth, _)| *depth <= 4) {
        let values = values(&sample);
        for at in words_read::<A>(&sample) {
            for &word in &values {
                check_word::<A>(&d.stacks, &sample, at, word)
                    .map_err(|what| format!("{}, {depth} calls: {what}", kind.name))?;
            }
        }
    }
    Ok(())
}

pub(super) fn random<A: Architecture>(d: &'static Description) -> Check {
    let samples = d.stacks.kinds.iter().flat_map(|kind| [2, 6].map(|depth| (kind.draw)(depth)));
    let samples = samples.map(|sample| {
        let words: Vec<u64> = words_read::<A>(&sample).into_iter().collect();
        (sample, words)
    });
    // A new task's stack may say nothing that a walk asks for.
    let (samples, words): (Vec<Sample>, Vec<Vec<u64>>) =
        samples.filter(|(_, words)| !words.is_empty()).unzip();
    let all_values: Vec<Vec<u64>> = samples.iter().map(values).collect();
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u64>(), 0..8_u8);
    let changes = prop::collection::vec(change, 1..6);
    for_all(4000, &(0..samples.len(), changes), |(number, changes)| {
        let mut image = samples[number].image.clone();
        for (at, value, word, choice) in changes {
            let word = if choice == 0 { word } else { *value.get(&all_values[number]) };
            image.set(*at.get(&words[number]), word);
        }
        check::<A>(&d.stacks, &image).map(|_| ())
    })
}

/// The reasons that are ever given, by whole stacks and by corrupt ones.
pub(super) fn reasons<A: Architecture>(d: &'static Description) -> Check {
    let mut given = BTreeSet::new();
    let mut walk_it =
        |sample: &Sample| given.extend(walk::<A>(&sample.image).end.err().map(|reason| reason.name()));
    for kind in d.stacks.kinds {
        let good = (kind.draw)(3);
        walk_it(&good);
        for start in starts(good.image.start) {
            let mut sample = good.clone();
            sample.image.start = start;
            walk_it(&sample);
        }
        for at in words_read::<A>(&good) {
            for word in values(&good).into_iter().chain([good.image.word(at).unwrap_or_default() + 4]) {
                let mut sample = good.clone();
                sample.image.set(at, word);
                walk_it(&sample);
            }
        }
        let mut sample = good.clone();
        sample.image.bottom += 0x1000;
        walk_it(&sample);
        sample = good.clone();
        sample.image.kept[0].push(good.frames[0].pc);
        walk_it(&sample);
    }
    let described: BTreeSet<&str> = d.stacks.reasons.iter().copied().collect();
    ensure_eq!(given, described, "reasons");
    Ok(())
}
