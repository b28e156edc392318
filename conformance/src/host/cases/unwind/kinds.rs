// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Whole stacks.

use klp_core::{Architecture, Endian};

use super::{Check, Description, SECTIONS, ensure, ensure_eq, reliable, samples};
use crate::host::damage::check;
use crate::host::stack::{Kind, Sample, walk};

fn one<A: Architecture>(d: &Description, kind: &Kind, depth: usize, sample: &Sample) -> Check {
    let walked = check::<A>(&d.stacks, &sample.image)
        .map_err(|what| format!("{}, {depth} calls: {what}", kind.name))?;
    ensure_eq!((walked.seen(), walked.end), (sample.seen(), sample.end), "{}, {depth} calls", kind.name);
    Ok(())
}

/// Walks all of a section.
pub(super) fn all<A: Architecture, const SECTION: usize>(d: &'static Description) -> Check {
    let mut found = 0;
    for (kind, depth, sample) in samples(d).filter(|(kind, ..)| kind.section == SECTIONS[SECTION]) {
        one::<A>(d, kind, depth, &sample)?;
        found += 1;
    }
    ensure!(found > 0, "no stacks");
    Ok(())
}

pub(super) fn other_byte_order<A: Architecture>(d: &'static Description) -> Check {
    for kind in d.stacks.kinds {
        ensure!(SECTIONS.contains(&kind.section), "{}: no case for section {}", kind.name, kind.section);
    }
    for (kind, depth, mut sample) in samples(d) {
        ensure_eq!(sample.image.endian, A::ENDIAN, "{}: byte order", kind.name);
        sample.image.swap_byte_order();
        ensure!(sample.image.endian != A::ENDIAN && Endian::Big != Endian::Little, "the same byte order");
        one::<A>(d, kind, depth, &sample)?;
    }
    Ok(())
}

pub(super) fn stacks_in_another_order<A: Architecture>(d: &'static Description) -> Check {
    let mut found = 0;
    for (kind, good) in reliable(d).filter(|(_, sample)| sample.image.stacks.len() > 1) {
        for i in 1..good.image.stacks.len() {
            let mut sample = good.clone();
            sample.image.stacks.swap(i - 1, i);
            let walked = walk::<A>(&sample.image);
            ensure!(
                walked.end.is_err(),
                "{}, stacks {} and {i} exchanged: {:x?}",
                kind.name,
                i - 1,
                walked.seen()
            );
            let mut sample = good.clone();
            sample.image.stacks.remove(i);
            let walked = walk::<A>(&sample.image);
            ensure!(walked.end.is_err(), "{}, without stack {i}: {:x?}", kind.name, walked.seen());
            found += 1;
        }
    }
    ensure!(found > 0, "no kind has several stacks");
    Ok(())
}
