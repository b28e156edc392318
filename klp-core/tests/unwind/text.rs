// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which addresses a function may return to.

use klp_core::unwind::{Code, Cursor, Found, Start, Unreliable};

use crate::arch::{NOP, PAD};
use crate::stack::*;

/// A second piece of text.
const OTHER: u64 = FUNCTION + 0x10_0000;

fn returning_to(pc: u64) -> crate::machine::Image {
    let mut image = chain(3);
    image.set(fp(1) + 8, pc);
    image
}

#[test]
fn a_return_address_is_in_text() {
    for pc in [0, 1, 0xffff, STACK, FUNCTION, FUNCTION + FUNCTION_SIZE + 1, u64::MAX] {
        assert_unreliable(&returning_to(pc), 2, Unreliable::NotText(pc));
    }
}

#[test]
fn a_return_address_follows_a_call() {
    for pc in [FUNCTION + 8, after_call(2) + 1, after_call(2) - 1] {
        assert_unreliable(&returning_to(pc), 2, Unreliable::NotAfterCall(pc));
    }
}

#[test]
fn the_first_instruction_that_there_is_may_be_a_call() {
    // Less lies before it than a walk looks at: a module whose first function begins with a call.
    let mut expected = whole(3);
    expected[2].0 = after_call(0);
    assert_reliable(&returning_to(after_call(0)), &expected);
    assert_unreliable(&returning_to(FUNCTION + 2), 2, Unreliable::NotAfterCall(FUNCTION + 2));
}

#[test]
fn a_call_may_be_the_last_instruction_of_a_function_that_does_not_return() {
    let mut image = returning_to(OTHER + 8);
    image.add_text(OTHER, &[NOP, CALL], Code::Function);
    image.add_text(OTHER + 8, &[NOP, NOP], Code::Generated);
    let frames = image.walk().expect("it belongs to the function before");
    assert_eq!(frames[2].cursor.in_function(), OTHER + 7);
    // Interrupted there, it would be the code behind.
    image.start = Start::At(Cursor { pc: OTHER + 8, sp: sp(0), fp: fp(0), exact: true });
    assert_unreliable(&image, 0, Unreliable::Unwalkable(OTHER + 8));
}

#[test]
fn the_first_instruction_of_a_function_is_not_returned_to() {
    let mut image = returning_to(OTHER + 8);
    image.add_text(OTHER, &[NOP, CALL], Code::Generated);
    image.add_text(OTHER + 8, &[NOP, NOP], Code::Function);
    assert_unreliable(&image, 2, Unreliable::Unwalkable(OTHER + 8));
}

#[test]
fn code_made_at_run_time_is_not_walked_through() {
    let mut image = returning_to(OTHER + 4);
    image.add_text(OTHER - 8, &[CALL, CALL, CALL, CALL], Code::Generated);
    assert_unreliable(&image, 2, Unreliable::Unwalkable(OTHER + 4));
}

#[test]
fn text_that_was_discarded_is_not_looked_at() {
    // The bytes are gone, and whoever called from there does not return.
    let mut image = returning_to(OTHER + 4);
    image.add_text(OTHER - 8, &[NOP; 4], Code::Discarded);
    let mut expected = whole(3);
    expected[2].0 = OTHER + 4;
    assert_reliable(&image, &expected);
}

#[test]
fn code_that_starts_a_stack_need_not_have_called() {
    // Boot code makes up the return address of the first function.
    let mut image = chain(3);
    image.add_text(OTHER - 8, &[NOP, NOP, PAD, NOP], Code::Function);
    image.set(fp(2) + 8, OTHER);
    let mut expected = whole(3);
    expected[3].0 = OTHER;
    assert_reliable(&image, &expected);
    // The last frame's place alone is not enough, nor is the code alone.
    image.set(fp(2) + 8, OTHER + 4);
    assert_unreliable(&image, 3, Unreliable::NotAfterCall(OTHER + 4));
    let mut image = returning_to(OTHER);
    image.add_text(OTHER - 8, &[NOP, NOP, PAD, NOP], Code::Function);
    assert_unreliable(&image, 2, Unreliable::NotAfterCall(OTHER));
    let mut image = chain(3);
    // But it is text.
    image.set(fp(2) + 8, STACK);
    assert_unreliable(&image, 3, Unreliable::NotText(STACK));
}

#[test]
fn entry_code_calls_but_is_not_called() {
    let mut image = chain(3);
    // The chain goes on from frame 2, which is entry code.
    image.add_text(OTHER - 8, &[CALL, CALL], Code::Entry);
    image.set(fp(1) + 8, OTHER);
    assert_unreliable(&image, 3, Unreliable::Unwalkable(OTHER));
    // Last of all, it is where the kernel was entered.
    let mut image = chain(3);
    image.add_text(OTHER - 8, &[CALL, CALL], Code::Entry);
    image.set(fp(2) + 8, OTHER);
    let mut expected = whole(3);
    expected[3].0 = OTHER;
    assert_reliable(&image, &expected);
}

#[test]
fn entry_code_leads_to_what_it_interrupted() {
    let mut image = chain(3);
    image.add_text(OTHER - 8, &[CALL, CALL], Code::Entry);
    image.set(fp(0) + 8, OTHER);
    let block = sp(1) + 0x10;
    image.set(fp(0), block | 1);
    let interrupted = Cursor { pc: FUNCTION + 0x80, sp: block + 0x200, fp: block + 0x200, exact: true };
    set_block(&mut image, block, interrupted);
    image.set(interrupted.fp, BOTTOM);
    image.set(interrupted.fp + 8, after_call(7));
    let expected = [
        (after_call(0), Found::Start),
        (OTHER, Found::Chain),
        (FUNCTION + 0x80, Found::Registers),
        (after_call(7), Found::Chain),
    ];
    assert_reliable(&image, &expected);
}

#[test]
fn what_was_interrupted_need_not_follow_a_call_but_is_text_that_can_be_walked() {
    let at = |pc, code| {
        let mut image = chain(3);
        image.add_text(OTHER, &[NOP; 4], code);
        let block = STACK + 0x800;
        image.set(fp(0), block | 1);
        set_block(&mut image, block, Cursor { pc, sp: block + 0x40, fp: BOTTOM, exact: true });
        image
    };
    let frames = [(after_call(0), Found::Start), (after_call(1), Found::Chain), (OTHER, Found::Registers)];
    assert_reliable(&at(OTHER, Code::Function), &frames);
    assert_reliable(&at(OTHER, Code::Entry), &frames);
    assert_unreliable(&at(OTHER, Code::Generated), 2, Unreliable::Unwalkable(OTHER));
    assert_unreliable(&at(OTHER + 16, Code::Function), 2, Unreliable::NotText(OTHER + 16));
    for keeper in klp_core::unwind::ReturnTrampoline::ALL {
        assert_unreliable(&at(OTHER, Code::ReturnTrampoline(keeper)), 2, Unreliable::Unwalkable(OTHER));
    }
}
