// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Return addresses that somebody else keeps.

use crate::machine::Image;
use klp_core::Addr;
use klp_core::unwind::{Code, Cursor, Found, ReturnTrampoline, Start, Unreliable};

use ReturnTrampoline::{Graph, Patch, Probe};

use crate::arch::NOP;
use crate::stack::*;

/// The trampolines' text: a return address there follows no call.
const fn trampoline(keeper: ReturnTrampoline) -> Addr {
    FUNCTION + 0x20_0000 + 0x100 * keeper as u64
}

/// [`chain`], in which frame `i` was returned to by way of a keeper.
fn with(depth: u64, frames: &[(u64, ReturnTrampoline)]) -> Image {
    let mut image = chain(depth);
    for keeper in ReturnTrampoline::ALL {
        image.add_text(trampoline(keeper), &[NOP; 4], Code::ReturnTrampoline(keeper));
        let of_keeper = frames.iter().filter(|(_, by)| *by == keeper);
        keep(&mut image, keeper, &of_keeper.map(|&(i, _)| after_call(i)).collect::<Vec<_>>());
    }
    for &(i, keeper) in frames {
        image.set(fp(i - 1) + 8, trampoline(keeper));
    }
    image
}

fn expected(depth: u64, frames: &[(u64, ReturnTrampoline)]) -> Vec<(Addr, Found)> {
    let mut expected = whole(depth);
    for &(i, keeper) in frames {
        expected[usize::try_from(i).expect("small")].1 = Found::Kept(keeper);
    }
    expected
}

#[test]
fn what_a_keeper_keeps_is_reported_in_place_of_its_trampoline() {
    for keeper in ReturnTrampoline::ALL {
        for frames in [&[(1, keeper)][..], &[(2, keeper)], &[(1, keeper), (2, keeper), (4, keeper)]] {
            assert_reliable(&with(4, frames), &expected(4, frames));
        }
    }
}

#[test]
fn what_called_the_context_switch_may_have_been_kept_too() {
    let mut image = with(3, &[(2, Graph)]);
    let cursor = Cursor { pc: trampoline(Graph), sp: sp(0), fp: fp(0), exact: false };
    image.start = Start::At(cursor);
    keep(&mut image, Graph, &[after_call(7), after_call(2)]);
    let mut frames = expected(3, &[(2, Graph)]);
    frames[0] = (after_call(7), Found::Kept(Graph));
    assert_reliable(&image, &frames);
    keep(&mut image, Graph, &[]);
    assert_unreliable(&image, 0, Unreliable::ReturnLost(Graph));
    // Where the task continues for certain is in the trampoline's own code.
    image.start = Start::At(Cursor { exact: true, ..cursor });
    assert_unreliable(&image, 0, Unreliable::Unwalkable(trampoline(Graph)));
}

#[test]
fn keepers_are_counted_apart() {
    let frames = [(1, Probe), (2, Graph), (3, Patch), (4, Graph), (5, Probe)];
    assert_reliable(&with(5, &frames), &expected(5, &frames));
}

#[test]
fn one_keeper_may_keep_the_trampoline_of_another() {
    // A function with a return probe that is traced too, and whose replacement returns through our stub.
    let mut image = with(3, &[(2, Graph)]);
    keep(&mut image, Graph, &[trampoline(Probe)]);
    keep(&mut image, Probe, &[trampoline(Patch)]);
    keep(&mut image, Patch, &[after_call(2)]);
    // The last one is said to have found it: the address is its own.
    assert_reliable(&image, &expected(3, &[(2, Patch)]));
}

#[test]
fn one_keeper_may_keep_its_own_trampoline() {
    // A traced function that ended in a jump to another one.
    let mut image = with(3, &[(2, Graph)]);
    keep(&mut image, Graph, &[trampoline(Graph), after_call(2)]);
    assert_reliable(&image, &expected(3, &[(2, Graph)]));
}

#[test]
fn trampolines_without_end_are_not_followed() {
    let mut image = with(3, &[(2, Graph)]);
    keep(&mut image, Graph, &[trampoline(Graph); 100]);
    assert_unreliable(&image, 2, Unreliable::Unwalkable(trampoline(Graph)));
    keep(&mut image, Graph, &[trampoline(Probe); 100]);
    keep(&mut image, Probe, &[trampoline(Graph); 100]);
    let (_, reason) = image.walk().expect_err("unreliable");
    assert!(matches!(reason, Unreliable::Unwalkable(_)), "{reason:?}");
}

#[test]
fn a_return_address_that_its_keeper_lost_is_missed() {
    for keeper in ReturnTrampoline::ALL {
        let mut image = with(4, &[(1, keeper), (3, keeper)]);
        keep(&mut image, keeper, &[after_call(1)]);
        assert_unreliable(&image, 3, Unreliable::ReturnLost(keeper));
        keep(&mut image, keeper, &[]);
        assert_unreliable(&image, 1, Unreliable::ReturnLost(keeper));
    }
    // Another's do not count.
    let mut image = with(4, &[(1, Graph)]);
    keep(&mut image, Graph, &[]);
    keep(&mut image, Probe, &[after_call(1)]);
    assert_unreliable(&image, 1, Unreliable::ReturnLost(Graph));
}

#[test]
fn a_return_address_that_nobody_returned_to_is_a_frame_that_was_missed() {
    for keeper in ReturnTrampoline::ALL {
        let mut image = with(3, &[(1, keeper)]);
        keep(&mut image, keeper, &[after_call(1), after_call(2)]);
        assert_unreliable(&image, 4, Unreliable::ReturnLeft(keeper));
        let mut image = with(3, &[]);
        keep(&mut image, keeper, &[after_call(2)]);
        assert_unreliable(&image, 4, Unreliable::ReturnLeft(keeper));
    }
}

#[test]
fn what_a_keeper_keeps_is_checked_like_any_return_address() {
    for keeper in ReturnTrampoline::ALL {
        let mut image = with(3, &[(2, keeper)]);
        for (kept, reason) in [
            (STACK, Unreliable::NotText(STACK)),
            (after_call(2) + 4, Unreliable::NotAfterCall(after_call(2) + 4)),
        ] {
            keep(&mut image, keeper, &[kept]);
            assert_unreliable(&image, 2, reason);
        }
    }
}

#[test]
fn a_trampoline_that_runs_is_not_walked_through() {
    for keeper in ReturnTrampoline::ALL {
        let mut image = with(3, &[]);
        let pc = trampoline(keeper);
        image.start = Start::At(Cursor { pc, sp: sp(0), fp: fp(0), exact: true });
        assert_unreliable(&image, 0, Unreliable::Unwalkable(pc));
        // Called from within it, by what gives the return address back.
        image.set(fp(1) + 8, pc + 4);
        keep(&mut image, keeper, &[]);
        image.start = chain(3).start;
        let (frames, reason) = image.walk().expect_err("unreliable");
        assert_eq!(frames.len(), 2);
        assert!(matches!(reason, Unreliable::ReturnLost(_) | Unreliable::Unwalkable(_)), "{reason:?}");
    }
}
