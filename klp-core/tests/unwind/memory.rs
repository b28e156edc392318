// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What walks remember of one another: [`Image::walk`](crate::machine::Image::walk) compares each walk of the other tests with
//! one that remembers; here is when they must differ, and when not.

use klp_core::Addr;
use klp_core::platform::Range;
use klp_core::unwind::{Code, ReturnTrampoline, Saved, Seen, Start, Unreliable};

use crate::arch::{NOP, PAD};
use crate::machine::Image;
use crate::stack::*;

/// Where the text in question lies.
const OTHER: Addr = FUNCTION + 0x10_0000;

/// A task that returns to OTHER + 8.
fn task() -> Image {
    let mut image = chain(3);
    image.set(fp(1) + 8, OTHER + 8);
    image.add_text(OTHER, &[NOP, CALL, NOP], Code::Function);
    image
}

/// Texts that are in its place later, and why a task cannot return there.
fn later() -> [(Image, Unreliable); 4] {
    let with = |insns: &[[u8; 4]], code| {
        let mut image = task();
        image.text.remove(&OTHER);
        image.add_text(OTHER, insns, code);
        image
    };
    [
        (with(&[NOP; 3], Code::Function), Unreliable::NotAfterCall(OTHER + 8)),
        (with(&[CALL; 3], Code::Generated), Unreliable::Unwalkable(OTHER + 8)),
        (with(&[], Code::Function), Unreliable::NotText(OTHER + 8)),
        // Nobody has been kept waiting there.
        (
            with(&[CALL; 3], Code::ReturnTrampoline(ReturnTrampoline::Graph)),
            Unreliable::ReturnLost(ReturnTrampoline::Graph),
        ),
    ]
}

fn why(image: &Image, seen: &Seen) -> Option<Unreliable> {
    image.walk_again(seen).err().map(|(_, reason)| reason)
}

#[test]
fn what_is_remembered_is_believed_until_it_is_forgotten() {
    for (later, reason) in later() {
        let seen = Seen::new();
        assert_eq!(why(&later, &seen), Some(reason));
        assert_eq!(why(&task(), &seen), None);
        // So text that goes must not be remembered, and a test with such text finds out.
        assert_eq!(why(&later, &seen), None);
        seen.forget();
        assert_eq!(why(&later, &seen), Some(reason));
    }
}

#[test]
fn text_that_comes_and_goes_is_not_remembered() {
    for (mut later, reason) in later() {
        let (seen, mut task) = (Seen::new(), task());
        // The call is in it, and the address behind is not.
        let fleeting = Some(Range { start: OTHER, size: 8 });
        (task.fleeting, later.fleeting) = (fleeting, fleeting);
        assert_eq!(why(&task, &seen), None);
        assert_eq!(why(&later, &seen), Some(reason));
    }
}

#[test]
fn what_counts_for_one_task_only_is_not_remembered() {
    // Only the task that booted the kernel may return to text that was discarded.
    let (seen, mut booted, mut other) = (Seen::new(), task(), task());
    booted.add_text(OTHER, &[NOP, CALL, NOP], Code::Discarded);
    other.text.remove(&OTHER);
    assert_eq!(why(&booted, &seen), None);
    assert_eq!(why(&other, &seen), Some(Unreliable::NotText(OTHER + 8)));
}

#[test]
fn table_entries_of_text_that_comes_and_goes_are_not_remembered() {
    let sized = |units| {
        let mut image = empty();
        image.start = Start::SwitchedOut(Saved { sp: BOTTOM - 0x100, pc: after_call(0), fp: 0 });
        image.set_table(FUNCTION + 0x1000, &[(FUNCTION, [units, 0, 0, 0, 0, 0])]);
        (1..=16).for_each(|i| image.set(BOTTOM - 0x100 + 16 * i - 8, after_call(1)));
        image
    };
    let frames = |image: &Image, seen: &Seen| image.walk_again(seen).expect("a reliable walk").len();
    let seen = Seen::new();
    assert_eq!((frames(&sized(2), &seen), frames(&sized(4), &seen)), (9, 9), "the memory is wrong now");
    seen.forget();
    assert_eq!(frames(&sized(4), &seen), 5);
    let (seen, mut two, mut four) = (Seen::new(), sized(2), sized(4));
    let fleeting = Some(Range { start: FUNCTION, size: FUNCTION_SIZE });
    (two.fleeting, four.fleeting) = (fleeting, fleeting);
    assert_eq!((frames(&two, &seen), frames(&four, &seen)), (9, 5));
}

#[test]
fn a_trampolines_address_is_looked_up_each_time_even_behind_a_call() {
    let keeper = ReturnTrampoline::Probe;
    let mut image = task();
    image.add_text(OTHER + 8, &[NOP; 4], Code::ReturnTrampoline(keeper));
    let seen = Seen::new();
    for i in [7, 9, 7] {
        keep(&mut image, keeper, &[after_call(i)]);
        let frames = image.walk_again(&seen).expect("a reliable walk");
        assert_eq!(frames[2].cursor.pc, after_call(i));
    }
    keep(&mut image, keeper, &[]);
    assert_eq!(why(&image, &seen), Some(Unreliable::ReturnLost(keeper)));
}

#[test]
fn what_a_tasks_own_words_decide_is_looked_at_each_time() {
    let seen = Seen::new();
    assert_eq!(why(&chain(4), &seen), None);
    for (link, reason) in [
        (fp(0), Unreliable::DidNotAdvance(sp(1))),
        (fp(1) + 8, Unreliable::Misaligned(fp(1) + 24)),
        (STACK - 16, Unreliable::CouldNotReadStack(STACK - 16)),
        (0, Unreliable::NotTheBottom(sp(1))),
    ] {
        let mut image = chain(4);
        image.set(fp(0), link);
        // The address there is known.
        if link == fp(1) + 8 {
            image.set(link + 8, after_call(2));
        }
        let walked = image.walk_again(&seen);
        assert_eq!(walked, image.walk());
        assert_eq!(walked.expect_err("unreliable").1, reason);
    }
    // Return addresses that a keeper has left.
    let mut image = chain(4);
    keep(&mut image, ReturnTrampoline::Graph, &[after_call(1)]);
    assert_eq!(why(&image, &seen), Some(Unreliable::ReturnLeft(ReturnTrampoline::Graph)));
}

#[test]
fn entry_code_and_the_start_of_a_stack_are_told_from_functions_each_time() {
    // All functions are known.
    let seen = Seen::new();
    assert_eq!(why(&chain(5), &seen), None);
    let through = |at: u64, insns: &[[u8; 4]], code| {
        let mut image = chain(5);
        image.add_text(OTHER, insns, code);
        image.set(fp(at) + 8, OTHER + 8);
        image
    };
    // Last of all, entry code is where the kernel was entered; it is no caller with one of its own.
    let entry = |at| through(at, &[NOP, CALL, NOP], Code::Entry);
    assert_eq!(why(&entry(4), &seen), None);
    assert_eq!(why(&entry(2), &seen), Some(Unreliable::Unwalkable(OTHER + 8)));
    // Code without a call may be there last of all, too.
    seen.forget();
    assert_eq!(why(&chain(5), &seen), None);
    let start = |at| through(at, &[NOP, NOP, PAD], Code::Function);
    assert_eq!(why(&start(4), &seen), None);
    assert_eq!(why(&start(2), &seen), Some(Unreliable::NotAfterCall(OTHER + 8)));
}
