// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H8: steps over stacks as compilers and entry code leave them, and over broken ones.

use std::cell::RefCell;

use klp_core::unwind::{
    Code, Cursor, Machine, Memory, ReturnTrampoline, Step, Unreliable, UnwindInfo, UnwindTable,
};
use klp_core::{Addr, Architecture};
use proptest::prelude::*;

use super::{ensure, ensure_eq};
use crate::host::description::Stack;
use crate::host::random::for_all;
use crate::host::{Case, Check, Description};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let frames = d.manuals.frames;
    vec![
        Case::new("H8.1", "unwind.frames_lead_to_the_bottom", frames, to_the_bottom::<A>),
        Case::new(
            "H8.2",
            "unwind.unreadable_words_are_unreliable",
            "livepatch/reliable-stacktrace.rst §2; klp_core::unwind::Memory",
            unreadable::<A>,
        ),
        Case::new(
            "H8.3",
            "unwind.chains_that_do_not_advance_are_unreliable",
            "livepatch/reliable-stacktrace.rst §2",
            not_advancing::<A>,
        ),
        Case::new("H8.4", "unwind.misaligned_frames_are_unreliable", frames, misaligned::<A>),
        Case::new(
            "H8.5",
            "unwind.exception_frames_are_unreliable",
            "livepatch/reliable-stacktrace.rst §4.3; reference/2016-pt_regs-frame-annotation",
            exceptions::<A>,
        ),
        Case::new(
            "H8.6",
            "unwind.chains_that_end_elsewhere_are_unreliable",
            "livepatch/reliable-stacktrace.rst §4.1",
            elsewhere::<A>,
        ),
        Case::new(
            "H8.7",
            "unwind.random_stacks_end_without_misaligned_reads",
            "klp_core::Unwind::step: bounded time, aligned words",
            random::<A>,
        ),
        Case::new(
            "H8.8",
            "unwind.signed_return_addresses_are_reported_unsigned",
            "livepatch/reliable-stacktrace.rst §4.5",
            signed::<A>,
        )
        .only_if(!d.saved_return_addresses.is_empty(), "return addresses are not signed"),
    ]
}

/// Return addresses of a walk `depth` frames deep.
fn pcs(d: &Description, depth: usize) -> Vec<Addr> {
    (0..depth).map(|i| d.text[i % d.text.len()] + 0x40 * i as u64).collect()
}

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Bottom,
    Unreliable(Unreliable),
}

/// A stack and nothing else.
struct Words<'a, M>(&'a M);

impl<M: Memory> Memory for Words<'_, M> {
    fn word(&self, addr: Addr) -> Option<u64> {
        self.0.word(addr)
    }
}

impl<M: Memory> Machine for Words<'_, M> {
    fn code(&self, _: Addr) -> Code {
        Code::Function
    }

    fn text(&self, _: Addr, _: &mut [u8]) -> bool {
        false
    }

    fn pending_return(&self, _: ReturnTrampoline, _: usize) -> Option<Addr> {
        None
    }

    fn unwind_info(&self) -> UnwindInfo {
        UnwindInfo::Frames
    }

    fn unwind_table(&self, _: Addr) -> Option<UnwindTable<'_>> {
        None
    }
}

/// Walks as the walker does: its own rule is that the stack pointer rises with every frame.
fn walk<A: Architecture>(stack: &Stack, memory: &impl Memory) -> (Vec<Addr>, End) {
    let (mut cursor, mut found) = (stack.cursor, Vec::new());
    loop {
        match A::step(&cursor, stack.bottom, &Words(memory)) {
            Ok(Step::Bottom) => return (found, End::Bottom),
            Err(reason) => return (found, End::Unreliable(reason)),
            // The first frame's own stack pointer may be the lowest word of the stack.
            Ok(Step::Caller(next)) if next.sp <= cursor.sp => {
                return (found, End::Unreliable(Unreliable::DidNotAdvance(next.sp)));
            }
            Ok(Step::Caller(next)) if found.len() > stack.words.len() => {
                return (found, End::Unreliable(Unreliable::NotText(next.pc)));
            }
            Ok(Step::Caller(next) | Step::Interrupted(next)) => {
                found.push(next.pc);
                cursor = next;
            }
        }
    }
}

fn walk_all<A: Architecture>(stack: &Stack) -> (Vec<Addr>, End) {
    walk::<A>(stack, &|addr: Addr| stack.get(addr))
}

fn to_the_bottom<A: Architecture>(d: &'static Description) -> Check {
    for depth in 1..=8 {
        let (pcs, stack) = (pcs(d, depth), (d.stack)(&pcs(d, depth)));
        ensure_eq!(walk_all::<A>(&stack), (pcs, End::Bottom), "{depth} frames");
    }
    Ok(())
}

fn unreadable<A: Architecture>(d: &'static Description) -> Check {
    let stack = (d.stack)(&pcs(d, 5));
    let good = walk_all::<A>(&stack);
    for index in 0..stack.words.len() {
        let hole = stack.start + 8 * index as u64;
        let memory = |addr: Addr| if addr == hole { None } else { stack.get(addr) };
        let (found, end) = walk::<A>(&stack, &memory);
        if stack.links.contains(&hole) || stack.terminator == Some(hole) || stack.returns.contains(&hole) {
            let expected = End::Unreliable(Unreliable::CouldNotReadStack(hole));
            ensure_eq!(end, expected, "without the word at {hole:#x}");
        } else {
            let harmless = matches!(end, End::Unreliable(_)) || (&found, &end) == (&good.0, &good.1);
            ensure!(harmless, "without the word at {hole:#x}: {found:x?} {end:?}");
        }
    }
    let nothing = walk::<A>(&stack, &|_: Addr| None);
    ensure!(
        matches!(nothing.1, End::Unreliable(Unreliable::CouldNotReadStack(_))) && nothing.0.is_empty(),
        "without any memory: {nothing:x?}"
    );
    Ok(())
}

fn not_advancing<A: Architecture>(d: &'static Description) -> Check {
    let good = (d.stack)(&pcs(d, 5));
    for (i, &link) in good.links.iter().chain(&good.terminator).enumerate() {
        // What a healthy link further down, or that of the same frame, holds: a chain that comes back to where it was.
        let back = (0..i).map(|j| good.get(good.links[j]).unwrap_or_default());
        for target in back.chain([0, good.start, good.start - 0x1000]) {
            if Some(target) == good.get(link) {
                continue;
            }
            let mut stack = good.clone();
            stack.set(link, target);
            let (found, end) = walk_all::<A>(&stack);
            ensure!(
                matches!(end, End::Unreliable(_)),
                "link {i} leads back to {target:#x}: {found:x?} {end:?}"
            );
        }
    }
    Ok(())
}

fn misaligned<A: Architecture>(d: &'static Description) -> Check {
    let good = (d.stack)(&pcs(d, 5));
    ensure!(A::FRAME_ALIGN.is_multiple_of(8), "FRAME_ALIGN is {}", A::FRAME_ALIGN);
    for (i, &link) in good.links.iter().enumerate() {
        for off in [4, A::FRAME_ALIGN / 2] {
            let mut stack = good.clone();
            let target = good.get(link).unwrap_or_default() + off;
            stack.set(link, target);
            let (found, end) = walk_all::<A>(&stack);
            let expected = End::Unreliable(Unreliable::Misaligned(target));
            ensure_eq!(end, expected, "link {i} is misaligned by {off}, frames {found:x?}");
        }
    }
    Ok(())
}

fn exceptions<A: Architecture>(d: &'static Description) -> Check {
    let good = (d.stack)(&pcs(d, 5));
    ensure!(!good.exceptions.is_empty(), "no exception frames");
    for (i, words) in good.exceptions.iter().enumerate() {
        let mut stack = good.clone();
        for &(addr, word) in words {
            stack.set(addr, word);
        }
        let (found, end) = walk_all::<A>(&stack);
        ensure!(
            matches!(end, End::Unreliable(Unreliable::Exception(_))),
            "exception {i}, words {words:x?}: frames {found:x?}, {end:x?}"
        );
    }
    Ok(())
}

fn elsewhere<A: Architecture>(d: &'static Description) -> Check {
    let good = (d.stack)(&pcs(d, 5));
    // Further than any register block is long.
    for off in [0x200, 0x1000, u64::MAX - good.bottom] {
        let mut stack = good.clone();
        stack.bottom += off;
        let (found, end) = walk_all::<A>(&stack);
        ensure!(matches!(end, End::Unreliable(_)), "{off:#x} below the bottom: {found:x?} {end:?}");
    }
    for &link in &good.links {
        let mut stack = good.clone();
        stack.set(link, good.bottom + 0x10_0000);
        let (found, end) = walk_all::<A>(&stack);
        ensure!(matches!(end, End::Unreliable(_)), "a link out of the stack: {found:x?} {end:?}");
    }
    Ok(())
}

fn random<A: Architecture>(d: &'static Description) -> Check {
    let good = (d.stack)(&pcs(d, 5));
    let end = good.start + 8 * good.words.len() as u64;
    let word = prop_oneof![
        3 => (good.start..end).prop_map(|addr| addr & !7),
        1 => any::<u64>(),
        1 => Just(0),
    ];
    let words = prop::collection::vec(word, good.words.len());
    for_all(2000, &(words, good.start..end), |(words, start)| {
        let stack = Stack {
            words,
            cursor: Cursor { pc: 0, sp: start & !7, fp: start & !15, exact: false },
            ..good.clone()
        };
        let bad = RefCell::new(None);
        let memory = |addr: Addr| {
            if addr.is_multiple_of(8) {
                return stack.get(addr);
            }
            *bad.borrow_mut() = Some(addr);
            None
        };
        let (found, _) = walk::<A>(&stack, &memory);
        ensure!(found.len() <= stack.words.len(), "{} frames in {} words", found.len(), stack.words.len());
        let bad = bad.borrow();
        ensure!(bad.is_none(), "read the misaligned word at {:#x}", bad.unwrap_or_default());
        Ok(())
    })
}

fn signed<A: Architecture>(d: &'static Description) -> Check {
    let expected: Vec<Addr> = d.saved_return_addresses.iter().map(|&(_, addr)| addr).collect();
    let words: Vec<u64> = d.saved_return_addresses.iter().map(|&(word, _)| word).collect();
    ensure_eq!(walk_all::<A>(&(d.stack)(&words)), (expected, End::Bottom), "frames");
    Ok(())
}
