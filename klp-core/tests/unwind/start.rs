// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where a walk starts, and when whoever collects the frames has seen enough.

use klp_core::unwind::{Cursor, Found, Frame, Next, Saved, Start, Task, Unreliable, Verdict, walk};

use crate::stack::*;

#[test]
fn a_switched_out_task_starts_where_it_was_switched_out() {
    let image = chain(2);
    let frames = image.walk().expect("reliable");
    let first = Frame {
        cursor: Cursor { pc: after_call(0), sp: sp(0), fp: fp(0), exact: true },
        found: Found::Start,
    };
    assert_eq!(frames[0], first);
}

#[test]
fn zero_is_no_text() {
    let mut image = chain(2);
    image.start = Start::SwitchedOut(Saved { sp: sp(0), pc: 0, fp: fp(0) });
    assert_unreliable(&image, 0, Unreliable::NotText(0));
    image.start = Start::At(Cursor { pc: 0, sp: sp(0), fp: fp(0), exact: true });
    assert_unreliable(&image, 0, Unreliable::NotText(0));
}

#[test]
fn a_walk_may_start_between_any_two_instructions() {
    let mut image = chain(2);
    let cursor = Cursor { pc: after_call(0) + 4, sp: sp(0), fp: fp(0), exact: true };
    image.start = Start::At(cursor);
    let mut expected = whole(2);
    expected[0].0 = cursor.pc;
    assert_reliable(&image, &expected);
    image.start = Start::At(Cursor { exact: false, ..cursor });
    assert_unreliable(&image, 0, Unreliable::NotAfterCall(cursor.pc));
}

#[test]
fn a_walk_stops_when_it_is_told_to_and_says_so() {
    let image = chain(5);
    let task = Task { start: image.start, stacks: &image.stacks, bottom: image.bottom };
    for enough in 1..=6 {
        let mut frames = Vec::new();
        let verdict = walk::<Arch>(&task, &image, |frame| {
            frames.push(*frame);
            if frames.len() == enough { Next::Stop } else { Next::Continue }
        });
        assert_eq!(verdict, Ok(Verdict::Stopped), "after {enough}");
        assert_eq!(seen(&frames), whole(5)[..enough]);
    }
}

#[test]
fn what_lies_behind_the_last_frame_asked_for_is_not_looked_at() {
    let mut image = chain(5);
    image.set(fp(2), 0);
    let task = Task { start: image.start, stacks: &image.stacks, bottom: image.bottom };
    let stop_at = |n: usize| {
        let mut seen = 0;
        walk::<Arch>(&task, &image, |_| {
            seen += 1;
            if seen == n { Next::Stop } else { Next::Continue }
        })
    };
    assert_eq!(stop_at(4), Ok(Verdict::Stopped));
    assert_eq!(stop_at(5), Err(Unreliable::NotTheBottom(sp(3))));
}
