// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H6: the return stack, against a model of it.

use std::sync::atomic::{AtomicU64, Ordering};

use klp_core::ftrace::ReturnFrame;
use klp_core::return_stack::{COUNT, FRAME_WORDS, FRAMES, MAX_WORDS, OWNER, RED_ZONE, ReturnStack};
use klp_core::{Addr, Architecture};
use proptest::prelude::*;

use super::{ensure, ensure_eq};
use crate::host::random::for_all;
use crate::host::{Case, Check, Description};

const BASE: Addr = 0xc000_0000_0810_0000;
const SIZE: u64 = 16 * 1024;
const SOURCE: &str = "klp_core::return_stack; Power ELFv2 ABI §2.2.1, §2.2.3";

pub(super) fn cases<A: Architecture>(_: &'static Description) -> Vec<Case> {
    let case = |id, name, check| {
        Case::new(id, name, SOURCE, check)
            .only_if(A::RETURN_STUB, "redirected calls return straight to their callers")
    };
    vec![
        case("H6.1", "return_stack.nested_calls_return_to_their_callers", nested),
        case("H6.2", "return_stack.a_return_drops_frames_above_it", dropped),
        case("H6.3", "return_stack.another_owner_finds_it_empty", other_owner),
        case("H6.4", "return_stack.full_refuses_and_changes_nothing", full),
        case("H6.5", "return_stack.leaves_room_to_the_machine_stack", room),
        case("H6.6", "return_stack.interrupts_between_any_two_stores_leave_no_trace", interrupted),
        case("H6.7", "return_stack.touches_only_its_own_words", own_words),
    ]
}

fn words() -> Vec<AtomicU64> {
    (0..MAX_WORDS).map(|i| AtomicU64::new(0x5747_4552_0000 + i as u64)).collect()
}

fn claim(words: &[AtomicU64]) -> ReturnStack<'_> {
    ReturnStack::claim(words, BASE, 7)
}

/// One step of a task: a call with this much stack, or the return of the innermost call.
#[derive(Clone, Copy, Debug)]
enum Op {
    Call(u64),
    Return,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Zero: a tail call, whose stack pointer is the caller's own.
    prop::collection::vec(prop_oneof![3 => (0_u64..8).prop_map(Op::Call), 2 => Just(Op::Return)], 0..200)
}

fn nested(_: &'static Description) -> Check {
    for_all(512, &ops(), |ops| {
        let (words, mut model) = (words(), Vec::new());
        let mut sp = BASE + SIZE;
        for (serial, op) in ops.into_iter().enumerate() {
            match op {
                Op::Call(size) => {
                    let frame =
                        ReturnFrame { ra: serial as u64 + 1, sp: sp - 16 * size, context: !(serial as u64) };
                    if claim(&words).push(frame, SIZE).is_ok() {
                        sp = frame.sp;
                        model.push(frame);
                    }
                }
                Op::Return => {
                    let Some(expected) = model.pop() else { continue };
                    ensure_eq!(claim(&words).pop(expected.sp), Some(expected), "the frame of step {serial}");
                    sp = model.last().map_or(BASE + SIZE, |frame: &ReturnFrame| frame.sp);
                }
            }
            ensure_eq!(claim(&words).count(), model.len(), "frames after step {serial}");
        }
        Ok(())
    })
}

/// Calls that never return (`do_exit`) are dropped by the return of any call below them, and only by that.
fn dropped(_: &'static Description) -> Check {
    for_all(512, &(1_usize..40, any::<prop::sample::Index>()), |(depth, index)| {
        let (words, frame) = (words(), |i: usize| {
            let sp = BASE + SIZE - 64 * i as u64;
            ReturnFrame { ra: i as u64, sp, context: 100 + i as u64 }
        });
        for i in 0..depth {
            claim(&words).push(frame(i), SIZE).map_err(|full| format!("{full:?} at {i}"))?;
        }
        let i = index.index(depth);
        ensure_eq!(claim(&words).pop(BASE + SIZE + 8), None, "a stack pointer that no frame has");
        ensure_eq!(claim(&words).count(), depth, "frames after a pop that found none");
        ensure_eq!(claim(&words).pop(frame(i).sp), Some(frame(i)), "frame {i} of {depth}");
        ensure_eq!(claim(&words).count(), i, "frames left");
        Ok(())
    })
}

fn other_owner(_: &'static Description) -> Check {
    let (words, frame) = (words(), ReturnFrame { ra: 1, sp: BASE + SIZE - 64, context: 2 });
    ensure_eq!(claim(&words).count(), 0, "frames found in memory that was never a return stack");
    claim(&words).push(frame, SIZE).map_err(|full| format!("{full:?}"))?;
    let other = ReturnStack::claim(&words, BASE, 8);
    ensure_eq!((other.count(), other.pop(frame.sp)), (0, None), "what another task finds");
    ensure_eq!(claim(&words).count(), 0, "what the first finds after another used it");
    Ok(())
}

fn contents(words: &[AtomicU64]) -> Vec<u64> {
    words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

fn full(_: &'static Description) -> Check {
    let (words, frame) = (words(), ReturnFrame { ra: 1, sp: BASE + SIZE - 64, context: 2 });
    let mut pushed = 0;
    while claim(&words).push(frame, SIZE).is_ok() {
        pushed += 1;
        ensure!(pushed <= MAX_WORDS, "never full");
    }
    ensure_eq!(pushed, (MAX_WORDS - FRAMES) / FRAME_WORDS, "frames in a full stack");
    let before = contents(&words);
    for _ in 0..3 {
        ensure!(claim(&words).push(frame, SIZE).is_err(), "a push on a full stack");
    }
    ensure_eq!(contents(&words), before, "the words");
    for _ in 0..pushed {
        ensure_eq!(claim(&words).pop(frame.sp), Some(frame), "a frame of a full stack");
    }
    Ok(())
}

fn room(_: &'static Description) -> Check {
    for depth in 0..20_u64 {
        let words = words();
        let far = ReturnFrame { ra: 1, sp: BASE + SIZE - 64, context: 2 };
        for _ in 0..depth {
            claim(&words).push(far, SIZE).map_err(|full| format!("{full:?}"))?;
        }
        let end = BASE + 8 * (FRAMES as u64 + (depth + 1) * FRAME_WORDS as u64);
        let near = |sp| claim(&words).push(ReturnFrame { sp, ..far }, SIZE);
        ensure!(near(end + RED_ZONE - 8).is_err(), "{} bytes left below the machine stack", RED_ZONE - 8);
        ensure!(near(end + RED_ZONE).is_ok(), "refused with {RED_ZONE} bytes left");
    }
    let words = words();
    let other_stack = ReturnFrame { ra: 1, sp: BASE - 0x8000, context: 2 };
    ensure!(claim(&words).push(other_stack, SIZE).is_ok(), "a call on an interrupt stack is refused");
    Ok(())
}

/// Stores of a push, in the order that the module documents: count, then the frame. Whatever an interrupt pushes and pops
/// between two of them is as if it had not been.
fn interrupted(_: &'static Description) -> Check {
    for_all(256, &(0_usize..10, 0_usize..4, ops()), |(depth, stores, ops)| {
        let words = words();
        claim(&words);
        for i in 0..depth {
            let frame = ReturnFrame { ra: i as u64, sp: BASE + SIZE - 64 * i as u64, context: 0 };
            claim(&words).push(frame, SIZE).map_err(|full| format!("{full:?}"))?;
        }
        let frame = [0xa1, BASE + SIZE - 64 * depth as u64, 0xa3];
        words[COUNT].store(depth as u64 + 1, Ordering::Relaxed);
        for (i, word) in frame.iter().enumerate().take(stores) {
            words[FRAMES + depth * FRAME_WORDS + i].store(*word, Ordering::Relaxed);
        }
        let before = contents(&words)[..FRAMES + (depth + 1) * FRAME_WORDS].to_vec();
        let mut model = Vec::new();
        for op in ops {
            match op {
                Op::Call(size) => {
                    let sp = BASE + SIZE - 0x1000 - 16 * (model.len() as u64 + size);
                    let frame = ReturnFrame { ra: 5, sp, context: model.len() as u64 };
                    if claim(&words).push(frame, SIZE).is_ok() {
                        model.push(frame);
                    }
                }
                Op::Return => {
                    let Some(frame) = model.pop() else { continue };
                    ensure_eq!(claim(&words).pop(frame.sp), Some(frame), "a frame of the interrupt");
                }
            }
        }
        for frame in model.into_iter().rev() {
            ensure_eq!(claim(&words).pop(frame.sp), Some(frame), "a frame of the interrupt");
        }
        let after = contents(&words)[..FRAMES + (depth + 1) * FRAME_WORDS].to_vec();
        ensure_eq!(after, before, "the interrupted task's words after {stores} stores");
        Ok(())
    })
}

fn own_words(_: &'static Description) -> Check {
    let words = words();
    let before = contents(&words);
    let frame = ReturnFrame { ra: 1, sp: BASE + SIZE - 64, context: 2 };
    claim(&words).push(frame, SIZE).map_err(|full| format!("{full:?}"))?;
    claim(&words).pop(frame.sp);
    let changed = |i: &usize| contents(&words)[*i] != before[*i];
    let changed: Vec<usize> = (0..MAX_WORDS).filter(changed).collect();
    let expected: Vec<usize> = [OWNER, COUNT].into_iter().chain(FRAMES..FRAMES + FRAME_WORDS).collect();
    ensure_eq!(changed, expected, "words changed by one frame; word 0 is the kernel's end-of-stack magic");
    Ok(())
}
