// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where a walk ends: at the true bottom, or nowhere; and how long it may take.

use klp_core::platform::Range;
use klp_core::unwind::{Found, MAX_FRAMES, Saved, Start, Unreliable};

use crate::arch::{PAD, RET};
use crate::stack::*;

#[test]
fn the_bottom_ends_a_walk_of_any_depth() {
    for depth in 0..=30 {
        let mut image = chain(depth);
        if depth == 0 {
            image.start = Start::SwitchedOut(Saved { sp: sp(0), pc: after_call(0), fp: BOTTOM });
        }
        assert_reliable(&image, &whole(depth));
    }
}

#[test]
fn a_chain_that_ends_elsewhere_is_not_whole() {
    for broken in 0..5 {
        let mut image = chain(5);
        image.set(fp(broken), 0);
        let frames = usize::try_from(broken + 2).expect("small");
        assert_unreliable(&image, frames, Unreliable::NotTheBottom(sp(broken + 1)));
    }
    let mut image = chain(5);
    image.bottom += 16;
    // What lies there is zeros.
    assert_unreliable(&image, 6, Unreliable::NotText(0));
}

/// A stack of the smallest frames there are, `frames` of them, the first included.
fn deep(frames: usize) -> crate::machine::Image {
    let mut image = empty();
    let size = 16 * (frames + 2);
    image.stacks.clear();
    image.add_inner_stack(Range { start: IRQ, size: size as u64 });
    image.start = Start::SwitchedOut(Saved { sp: IRQ, pc: after_call(0), fp: IRQ });
    let last = IRQ + 16 * (frames as u64 - 1);
    for fp in (IRQ..last).step_by(16) {
        image.set(fp, fp + 16);
        image.set(fp + 8, after_call(1));
    }
    image.bottom = last;
    image
}

#[test]
fn a_walk_has_at_most_max_frames() {
    for frames in [2, MAX_FRAMES - 1, MAX_FRAMES] {
        assert_eq!(deep(frames).walk().map(|found| found.len()), Ok(frames));
    }
    let next = |i: usize| IRQ + 16 * i as u64;
    assert_unreliable(&deep(MAX_FRAMES + 1), MAX_FRAMES, Unreliable::TooManyFrames(next(MAX_FRAMES)));
    assert_unreliable(&deep(4 * MAX_FRAMES), MAX_FRAMES, Unreliable::TooManyFrames(next(MAX_FRAMES)));
}

#[test]
fn reasons_of_the_architecture_are_passed_on_with_the_frames_so_far() {
    for (insn, reason) in [(PAD, Unreliable::CallerInRegister as fn(_) -> _), (RET, Unreliable::Exception)] {
        let mut image = chain(3);
        let pc = FUNCTION + 0x20_0000;
        image.add_text(pc, &[insn], klp_core::unwind::Code::Function);
        let block = STACK + 0x800;
        image.set(fp(1), block | 1);
        let interrupted = klp_core::unwind::Cursor { pc, sp: block + 0x40, fp: BOTTOM, exact: true };
        set_block(&mut image, block, interrupted);
        assert_unreliable(&image, 4, reason(pc));
    }
}

/// Where the table lies.
const TABLE: u64 = FUNCTION + 0x10_0000;

/// A stack whose frames a table describes: three functions, with frames of 16, 48 and 32 bytes.
fn tables() -> crate::machine::Image {
    let mut image = empty();
    let functions = [FUNCTION, FUNCTION + 0x100, FUNCTION + 0x200];
    let entry = |(start, size)| (start, [size, 0, 0, 0, 0, 0]);
    image.set_table(TABLE, &functions.into_iter().zip([1, 3, 2]).map(entry).collect::<Vec<_>>());
    image.start = Start::SwitchedOut(Saved { sp: SP, pc: functions[0] + 4, fp: 0 });
    image.set(SP + 16 - 8, functions[1] + 4);
    image.set(SP + 16 + 48 - 8, functions[2] + 4);
    image.set(SP + 16 + 48 + 32 - 8, functions[0] + 0x0c);
    image.bottom = SP + 16 + 48 + 32;
    image
}

#[test]
fn a_table_finds_frames() {
    let expected = [
        (FUNCTION + 4, Found::Start),
        (FUNCTION + 0x104, Found::Table),
        (FUNCTION + 0x204, Found::Table),
        (FUNCTION + 0x0c, Found::Table),
    ];
    assert_reliable(&tables(), &expected);
}

#[test]
fn a_frame_that_no_table_describes_is_not_walked() {
    let mut image = tables();
    image.set_table(TABLE, &[]);
    assert_unreliable(&image, 1, Unreliable::NoUnwindInfo(FUNCTION + 4));
    let mut image = tables();
    image.set_table(TABLE, &[(FUNCTION + 0x40, [1, 0, 0, 0, 0, 0])]);
    assert_unreliable(&image, 1, Unreliable::NoUnwindInfo(FUNCTION + 4));
}

#[test]
fn a_frame_without_a_size_does_not_advance() {
    let mut image = tables();
    image.set_table(TABLE, &[(FUNCTION, [0, 0, 0, 0, 0, 0])]);
    assert_unreliable(&image, 1, Unreliable::DidNotAdvance(SP));
}
