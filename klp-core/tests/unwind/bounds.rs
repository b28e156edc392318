// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where frames may lie: on the task's stacks, each above the one it called, never back.

use std::cell::RefCell;

use klp_core::Addr;
use klp_core::platform::Range;
use klp_core::unwind::{
    Code, Cursor, Found, Machine, Memory, Next, ReturnTrampoline, Saved, Start, Task, Unreliable, UnwindInfo,
    UnwindTable, walk,
};

use crate::stack::*;

/// Where a register block lies on an inner stack, and the frame of the handler below it.
const BLOCK: u64 = 0x200;
const HANDLER: u64 = 0x180;

/// A handler on the stack at `start`, `calls` deep, that interrupted `interrupted`.
fn interrupt(image: &mut crate::machine::Image, start: Addr, interrupted: Cursor) {
    image.add_inner_stack(Range { start, size: STACK_SIZE });
    let fp = start + HANDLER + RECORD;
    image.set(fp, (start + BLOCK) | 1);
    image.set(fp + 8, after_call(40));
    set_block(image, start + BLOCK, interrupted);
    image.start = Start::SwitchedOut(Saved { sp: start + HANDLER, pc: after_call(41), fp });
}

const fn interrupted(i: u64) -> Cursor {
    // After an instruction that is no call: only an exception leads here.
    Cursor { pc: after_call(i) + 4, sp: sp(i), fp: fp(i), exact: true }
}

#[test]
fn an_exception_on_another_stack_leads_back_to_the_one_it_interrupted() {
    let mut image = chain(2);
    interrupt(&mut image, IRQ, interrupted(0));
    let expected = [
        (after_call(41), Found::Start),
        (after_call(40), Found::Chain),
        (after_call(0) + 4, Found::Registers),
        (after_call(1), Found::Chain),
        (after_call(2), Found::Chain),
    ];
    assert_reliable(&image, &expected);
}

#[test]
fn stacks_are_left_in_the_order_they_were_entered_in() {
    // The NMI interrupted the IRQ's handler, which interrupted the task.
    let mut image = chain(2);
    interrupt(&mut image, IRQ, interrupted(0));
    let fp = IRQ + HANDLER + RECORD;
    let handler = Cursor { pc: after_call(41) + 4, sp: IRQ + HANDLER, fp, exact: true };
    interrupt(&mut image, NMI, handler);
    let frames = image.walk().expect("reliable");
    let of_stack = |start: Addr| move |sp: &Addr| sp.wrapping_sub(start) <= STACK_SIZE;
    let sps: Vec<Addr> = frames.iter().map(|frame| frame.cursor.sp).collect();
    assert_eq!(sps.iter().filter(|sp| of_stack(NMI)(sp)).count(), 2, "{sps:x?}");
    assert_eq!(sps.iter().filter(|sp| of_stack(IRQ)(sp)).count(), 2, "{sps:x?}");
    assert_eq!(sps.iter().filter(|sp| of_stack(STACK)(sp)).count(), 3, "{sps:x?}");
}

#[test]
fn an_inner_stack_may_be_passed_over() {
    // The NMI came while the task itself ran: the IRQ stack, between the two, is not in use.
    let mut image = chain(1);
    image.add_inner_stack(Range { start: IRQ, size: STACK_SIZE });
    interrupt(&mut image, NMI, interrupted(0));
    assert_eq!(image.walk().map(|frames| frames.len()), Ok(4));
}

#[test]
fn a_stack_that_was_left_is_not_come_back_to() {
    let mut image = chain(2);
    interrupt(&mut image, IRQ, interrupted(0));
    // The frame of the interrupted code leads back to the interrupt's stack, which can be read, but not any more.
    image.set(fp(0), IRQ + HANDLER + RECORD);
    assert_unreliable(&image, 4, Unreliable::CouldNotReadStack(IRQ + HANDLER + RECORD));
    // An exception does.
    image.set(fp(0), (STACK + 0x800) | 1);
    set_block(
        &mut image,
        STACK + 0x800,
        Cursor { pc: after_call(3), sp: IRQ + 0x800, fp: fp(1), exact: true },
    );
    assert_unreliable(&image, 4, Unreliable::WrongStack(IRQ + 0x800));
}

#[test]
fn an_outer_stack_does_not_lead_to_an_inner_one() {
    let mut image = chain(2);
    image.add_inner_stack(Range { start: IRQ, size: STACK_SIZE });
    // The walk starts on the task's stack: the interrupt stack is inside of it.
    let at = IRQ + 0x100;
    image.set(fp(1), at);
    image.set(at, BOTTOM);
    image.set(at + 8, after_call(9));
    assert_unreliable(&image, 3, Unreliable::CouldNotReadStack(at));
}

#[test]
fn a_frame_outside_all_stacks_is_on_the_wrong_stack() {
    for outside in [0, 16, STACK - 16, STACK + STACK_SIZE + 16, u64::MAX - 15] {
        let mut image = chain(2);
        image.set(fp(0), (STACK + 0x800) | 1);
        let elsewhere = Cursor { pc: after_call(3), sp: outside, fp: fp(1), exact: true };
        set_block(&mut image, STACK + 0x800, elsewhere);
        assert_unreliable(&image, 2, Unreliable::WrongStack(outside));
        image.start = Start::At(Cursor { pc: after_call(0), sp: outside, fp: fp(0), exact: false });
        assert_unreliable(&image, 0, Unreliable::WrongStack(outside));
    }
    let mut image = chain(2);
    image.stacks.clear();
    assert_unreliable(&image, 0, Unreliable::WrongStack(sp(0)));
}

#[test]
fn a_record_outside_the_stack_cannot_be_read() {
    for outside in [16, STACK - 16, STACK + STACK_SIZE, u64::MAX - 15] {
        let mut image = chain(2);
        // It could be: there is memory, only not the task's.
        for memory in [0, STACK - 0x100, STACK + STACK_SIZE, 0u64.wrapping_sub(0x100)] {
            image.add_memory(Range { start: memory, size: 0x100 });
        }
        image.set(fp(0), outside);
        assert_unreliable(&image, 2, Unreliable::CouldNotReadStack(outside));
    }
}

#[test]
fn a_frame_not_above_the_one_it_called_does_not_advance() {
    for back in [fp(0), fp(1), STACK] {
        let mut image = chain(3);
        image.set(fp(1), back);
        assert_unreliable(&image, 3, Unreliable::DidNotAdvance(back + 16));
    }
    // Not even a register block may lead to where the walk is already.
    let mut image = chain(2);
    image.set(fp(0), (STACK + 0x800) | 1);
    set_block(&mut image, STACK + 0x800, interrupted(1));
    assert_unreliable(&image, 2, Unreliable::DidNotAdvance(sp(1)));
}

#[test]
fn a_misaligned_frame_is_refused() {
    let mut image = chain(2);
    image.set(fp(0), fp(1) + 8);
    assert_unreliable(&image, 2, Unreliable::Misaligned(fp(1) + 24));
    image.set(fp(0), (STACK + 0x800) | 1);
    let odd = Cursor { sp: sp(3) + 8, ..interrupted(3) };
    set_block(&mut image, STACK + 0x800, odd);
    assert_unreliable(&image, 2, Unreliable::Misaligned(sp(3) + 8));
}

/// Wants to read whatever is there, and remembers what it was asked for.
struct Everything<'a>(&'a crate::machine::Image, RefCell<Vec<Addr>>);

impl Memory for Everything<'_> {
    fn word(&self, addr: Addr) -> Option<u64> {
        self.1.borrow_mut().push(addr);
        self.0.word(addr).or(Some(addr))
    }
}

impl Machine for Everything<'_> {
    fn code(&self, pc: Addr) -> Code {
        self.0.code(pc)
    }
    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        self.0.text(addr, bytes)
    }
    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.0.pending_return(keeper, nth)
    }
    fn unwind_info(&self) -> UnwindInfo {
        self.0.unwind_info()
    }
    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        self.0.unwind_table(pc)
    }
}

#[test]
fn the_machine_is_never_asked_for_words_off_the_stacks() {
    let edges =
        [STACK - 8, STACK - 4, STACK, STACK + STACK_SIZE - 8, STACK + STACK_SIZE - 4, STACK + STACK_SIZE];
    for link in edges.into_iter().chain([0, 1, 4, u64::MAX, u64::MAX - 7, u64::MAX - 15, fp(1) + 4]) {
        for marked in [link, link | 1] {
            let mut image = chain(3);
            image.set(fp(0), marked);
            let machine = Everything(&image, RefCell::default());
            let stacks = [Range { start: STACK, size: STACK_SIZE }];
            let task = Task { start: image.start, stacks: &stacks, bottom: BOTTOM };
            let _ = walk::<Arch>(&task, &machine, |_| Next::Continue);
            for addr in machine.1.take() {
                let offset = addr.wrapping_sub(STACK);
                assert!(
                    offset <= STACK_SIZE - 8 && offset.is_multiple_of(8),
                    "{addr:#x}, the link being {marked:#x}"
                );
            }
        }
    }
}
