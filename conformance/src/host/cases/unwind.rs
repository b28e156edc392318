// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H8: walks over stacks as compilers, entry code and tracers leave them, and over corrupt ones.
//!
//! `H8.S.n` is case n of section S of `Documentation/livepatch/reliable-stacktrace.rst`, which has no section 5: that is for
//! stacks of real kernels. H8.1 to H8.8, without a section, were earlier cases.

mod corrupt;
mod kinds;
mod recorded;
mod text;
mod trampolines;

use klp_core::Architecture;

use super::{ensure, ensure_eq};
use crate::host::stack::{Kind, Sample};
use crate::host::{Case, Check, Description};

/// The sections that kinds of stacks belong to.
const SECTIONS: [&str; 7] = ["2", "3", "4.1", "4.2", "4.3", "4.5", "4.6"];

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let has = |section| d.stacks.kinds.iter().any(|kind| kind.section == section);
    vec![
        Case::new("H8.2.1", "unwind.sleeping_tasks_are_walked", d.manuals.frames, kinds::all::<A, 0>),
        Case::new(
            "H8.2.2",
            "unwind.unreadable_words_are_unreliable",
            "livepatch/reliable-stacktrace.rst §2; klp_core::unwind::Memory",
            corrupt::unreadable::<A>,
        ),
        Case::new(
            "H8.2.3",
            "unwind.chains_that_do_not_advance_are_unreliable",
            "livepatch/reliable-stacktrace.rst §2",
            corrupt::not_advancing::<A>,
        ),
        Case::new(
            "H8.2.4",
            "unwind.misaligned_frames_are_unreliable",
            d.manuals.frames,
            corrupt::misaligned::<A>,
        ),
        Case::new(
            "H8.2.5",
            "unwind.no_corrupt_word_hides_a_frame",
            "livepatch/reliable-stacktrace.rst §2; reference/2015-stack-walking-must-be-100-percent",
            corrupt::one_word::<A>,
        ),
        Case::new(
            "H8.2.6",
            "unwind.random_stacks_are_survived",
            "livepatch/reliable-stacktrace.rst §2",
            corrupt::random::<A>,
        ),
        Case::new(
            "H8.2.7",
            "unwind.byte_order_does_not_matter",
            "klp_core::unwind::Memory: words in the byte order of the machine",
            kinds::other_byte_order::<A>,
        ),
        Case::new(
            "H8.2.8",
            "unwind.reasons_are_those_described",
            "klp_core::unwind::Unreliable",
            corrupt::reasons::<A>,
        ),
        Case::new(
            "H8.3.1",
            "unwind.code_without_tables_is_unreliable",
            "livepatch/reliable-stacktrace.rst §3; arch/x86/orc-unwinder.rst",
            kinds::all::<A, 1>,
        )
        .only_if(has("3"), "there are no tables"),
        Case::new(
            "H8.4.1.1",
            "unwind.the_first_frames_of_tasks_are_the_bottom",
            "livepatch/reliable-stacktrace.rst §4.1",
            kinds::all::<A, 2>,
        ),
        Case::new(
            "H8.4.1.2",
            "unwind.chains_that_end_elsewhere_are_unreliable",
            "livepatch/reliable-stacktrace.rst §4.1",
            corrupt::elsewhere::<A>,
        ),
        Case::new(
            "H8.4.2.1",
            "unwind.generated_code_is_unreliable",
            "livepatch/reliable-stacktrace.rst §4.2",
            kinds::all::<A, 3>,
        ),
        Case::new(
            "H8.4.2.2",
            "unwind.return_addresses_follow_calls_in_text",
            "livepatch/reliable-stacktrace.rst §4.2; reference/2015-stack-walking-must-be-100-percent",
            text::return_addresses::<A>,
        ),
        Case::new(
            "H8.4.2.3",
            "unwind.entry_code_is_not_called",
            "livepatch/reliable-stacktrace.rst §4.2",
            text::entry_code::<A>,
        ),
        Case::new(
            "H8.4.3.1",
            "unwind.exceptions_and_stacks_of_interrupts",
            "livepatch/reliable-stacktrace.rst §4.3; reference/2016-pt_regs-frame-annotation",
            kinds::all::<A, 4>,
        ),
        Case::new(
            "H8.4.3.2",
            "unwind.stacks_in_another_order_are_unreliable",
            "livepatch/reliable-stacktrace.rst §4.3",
            kinds::stacks_in_another_order::<A>,
        ),
        Case::new(
            "H8.4.4.1",
            "unwind.kept_return_addresses_are_found",
            "livepatch/reliable-stacktrace.rst §4.4",
            trampolines::kept::<A>,
        ),
        Case::new(
            "H8.4.4.2",
            "unwind.lost_return_addresses_are_unreliable",
            "livepatch/reliable-stacktrace.rst §4.4",
            trampolines::lost::<A>,
        ),
        Case::new(
            "H8.4.4.3",
            "unwind.return_addresses_left_over_are_unreliable",
            "livepatch/reliable-stacktrace.rst §4.4",
            trampolines::left::<A>,
        ),
        Case::new(
            "H8.4.4.4",
            "unwind.keepers_of_keepers_are_followed",
            "livepatch/reliable-stacktrace.rst §4.4",
            trampolines::nested::<A>,
        ),
        Case::new(
            "H8.4.5.1",
            "unwind.obscured_return_addresses",
            "livepatch/reliable-stacktrace.rst §4.5; reference/2019-arm64-ftrace-with-regs",
            kinds::all::<A, 5>,
        )
        .only_if(has("4.5"), "return addresses are not signed, and patch sites do not move them"),
        Case::new(
            "H8.4.6.1",
            "unwind.return_addresses_that_cannot_be_trusted",
            "livepatch/reliable-stacktrace.rst §4.6",
            kinds::all::<A, 6>,
        ),
        Case::new(
            "H8.5.1",
            "unwind.recorded_stacks_of_real_kernels",
            "cargo klp stacks --record",
            recorded::all::<A>,
        )
        .only_if(has_page_tables(d), "memory dumps cannot be read, which stacks are recorded from"),
    ]
}

/// Whether a memory dump can be read.
fn has_page_tables(d: &Description) -> bool {
    (d.host)().is_some_and(|arch| arch.page_tables.is_some())
}

/// How many calls deep samples are.
const DEPTHS: [usize; 4] = [1, 2, 4, 8];

/// Each kind of stack, of each depth.
fn samples(d: &'static Description) -> impl Iterator<Item = (&'static Kind, usize, Sample)> {
    d.stacks.kinds.iter().flat_map(|kind| DEPTHS.map(|depth| (kind, depth, (kind.draw)(depth))))
}

/// Those of a middle depth that can be walked.
fn reliable(d: &'static Description) -> impl Iterator<Item = (&'static Kind, Sample)> {
    let all = d.stacks.kinds.iter().map(|kind| (kind, (kind.draw)(4)));
    all.filter(|(_, sample)| sample.end.is_ok())
}
