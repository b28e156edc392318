// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks over stacks as the kernel's compiler, entry code and tracers leave them.

extern crate std;
use std::vec;
use std::vec::Vec;

use klp_conformance::image::Image;
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Found, Frame, ReturnTrampoline, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use super::{BACK_CHAIN, BLOCK_PC, FRAME_OVERHEAD, RETURN_ADDRESS, SAVED_SP};
use crate::S390;

const STACK: Addr = 0x380_0001_0000;
const SIZE: usize = 0x4000;
/// The register block at the stack's top: 200 bytes in all kernels so far.
const BOTTOM: Addr = STACK + SIZE as u64 - 200;
/// Entry code's frame.
const LAST: Addr = BOTTOM - FRAME_OVERHEAD;

const TEXT: Addr = 0x3ff_fe40_0000;
const BRASL: [u8; 6] = [0xc0, 0xe5, 0, 0x12, 0x34, 0x56];
/// `basr %r14,%r1`, and the NOP that fills what was a call of an expoline thunk.
const BASR_NOP: [u8; 6] = [0x0d, 0xe1, 0x47, 0, 0, 0];
const BRCL_NEVER: [u8; 6] = [0xc0, 0x04, 0, 0, 0, 0];

/// Return addresses: behind a `brasl`, behind a `basr`.
const A: Addr = TEXT + 14;
const B: Addr = TEXT + 16;
const C: Addr = TEXT + 28;
/// Entry code, behind its call of the handler.
const SYSTEM_CALL: Addr = TEXT + 0x1000 + 14;
/// The first instruction of something; nothing before it is a call.
const RET_FROM_FORK: Addr = TEXT + 0x2000;
const TRAMPOLINE: Addr = TEXT + 0x3000;
const PROBE: Addr = TEXT + 0x3100;

/// A stack on which nothing is, and text.
fn image() -> Image {
    let mut image = Image::new(Endian::Big, STACK, SIZE);
    image.bottom = BOTTOM;
    let functions: Vec<u8> = [[7; 8].as_slice(), &BRASL, &BASR_NOP, &[7; 2], &BRASL, &BRCL_NEVER].concat();
    image.add_text(TEXT, &functions, Code::Function);
    image.add_text(TEXT + 0x1000, &[[7; 8].as_slice(), &BRASL, &[7; 8]].concat(), Code::Entry);
    image.add_text(
        RET_FROM_FORK - 8,
        &[[7; 8].as_slice(), &[0xb9, 0x04, 0, 0x3b], &BRASL].concat(),
        Code::Entry,
    );
    image.add_text(TRAMPOLINE, &BRASL, Code::ReturnTrampoline(ReturnTrampoline::Graph));
    image.add_text(PROBE, &BRASL, Code::ReturnTrampoline(ReturnTrampoline::Probe));
    image
}

/// What the function at `sp` left: it was called by the one at `caller`, which goes on at `pc`.
fn set_frame(image: &mut Image, sp: Addr, caller: Addr, pc: Addr) {
    image.set(sp + BACK_CHAIN, caller);
    image.set(caller + SAVED_SP, caller);
    image.set(caller + RETURN_ADDRESS, pc);
}

/// What the context switch left in the frame of its caller, which goes on at `pc`.
fn switch_out(image: &mut Image, sp: Addr, pc: Addr) {
    image.set(sp + SAVED_SP, sp);
    image.set(sp + RETURN_ADDRESS, pc);
    image.start = Start::SwitchedOut(Saved { sp, pc: 0, fp: 0 });
}

/// The smallest frame that gcc makes: the areas of 160 bytes overlap.
const SMALL: u64 = 24;
const SLEEPER: Addr = LAST - 0x120 - SMALL;
const CALLER: Addr = LAST - 0x120;

/// A task asleep in a system call.
fn asleep() -> Image {
    let mut image = image();
    switch_out(&mut image, SLEEPER, A);
    set_frame(&mut image, SLEEPER, CALLER, B);
    set_frame(&mut image, CALLER, LAST, SYSTEM_CALL);
    image
}

const fn frame(pc: Addr, sp: Addr, found: Found) -> Frame {
    Frame { cursor: Cursor { pc, sp, fp: 0, exact: false }, found }
}

fn asleep_frames() -> Vec<Frame> {
    vec![
        frame(A, SLEEPER, Found::Start),
        frame(B, CALLER, Found::Chain),
        frame(SYSTEM_CALL, LAST, Found::Chain),
    ]
}

fn assert_unreliable(image: &Image, frames: &[Frame], reason: Unreliable) {
    assert_eq!(image.walk::<S390>(), Err((frames.to_vec(), reason)));
}

#[test]
fn a_task_asleep_in_a_system_call_is_walked_to_the_bottom() {
    assert_eq!(asleep().walk::<S390>(), Ok(asleep_frames()));
}

#[test]
fn a_new_task_is_about_to_execute_ret_from_fork() {
    let mut image = image();
    switch_out(&mut image, LAST, RET_FROM_FORK);
    let cursor = Cursor { pc: RET_FROM_FORK, sp: LAST, fp: 0, exact: true };
    assert_eq!(image.walk::<S390>(), Ok(vec![Frame { cursor, found: Found::Start }]));
    // Only a new task's frame has no back chain.
    let mut image = asleep();
    switch_out(&mut image, SLEEPER, RET_FROM_FORK);
    assert_unreliable(&image, &[], Unreliable::NotAfterCall(RET_FROM_FORK));
}

#[test]
fn the_context_switch_resumes_at_the_stack_pointer_that_it_kept() {
    let mut image = asleep();
    image.set(SLEEPER + SAVED_SP, CALLER);
    assert_unreliable(&image, &[], Unreliable::WrongStack(CALLER));
    for sp in [STACK - 0x1000, STACK + SIZE as u64, 0, u64::MAX - 7] {
        image.start = Start::SwitchedOut(Saved { sp, pc: 0, fp: 0 });
        assert_unreliable(&image, &[], Unreliable::CouldNotReadStack(sp.wrapping_add(SAVED_SP)));
    }
}

#[test]
fn the_first_idle_task_was_called_by_text_that_is_gone() {
    const START_KERNEL: Addr = TEXT + 0x10_0000;
    let mut image = asleep();
    image.set(LAST + RETURN_ADDRESS, START_KERNEL);
    let mut frames = asleep_frames();
    assert_unreliable(&image, &frames[..2], Unreliable::NotText(START_KERNEL));
    image.code.push((Range { start: START_KERNEL - 0x100, size: 0x200 }, Code::Discarded));
    frames[2].cursor.pc = START_KERNEL;
    assert_eq!(image.walk::<S390>(), Ok(frames));
}

#[test]
fn a_register_block_in_the_middle_is_an_exception() {
    // A page fault at the first instruction of a function: whether it has a frame is not known, nor is its caller.
    const FAULT: Addr = TEXT + 28;
    let mut image = asleep();
    let block = CALLER - 0x200;
    switch_out(&mut image, block - FRAME_OVERHEAD - SMALL, A);
    set_frame(&mut image, block - FRAME_OVERHEAD - SMALL, block - FRAME_OVERHEAD, SYSTEM_CALL);
    image.set(block - FRAME_OVERHEAD + BACK_CHAIN, 0);
    image.set(block + BLOCK_PC, FAULT);
    let frames = [
        frame(A, block - FRAME_OVERHEAD - SMALL, Found::Start),
        frame(SYSTEM_CALL, block - FRAME_OVERHEAD, Found::Chain),
    ];
    assert_unreliable(&image, &frames, Unreliable::Exception(FAULT));
}

#[test]
fn a_block_that_is_cut_off_cannot_be_read() {
    let mut image = asleep();
    let top = STACK + SIZE as u64;
    image.bottom = top;
    switch_out(&mut image, top - FRAME_OVERHEAD - 8, A);
    image.set(top - 8 - FRAME_OVERHEAD + BACK_CHAIN, 0);
    let frames = [Frame {
        cursor: Cursor { pc: A, sp: top - FRAME_OVERHEAD - 8, fp: 0, exact: true },
        found: Found::Start,
    }];
    assert_unreliable(&image, &frames, Unreliable::CouldNotReadStack(top - 8 + BLOCK_PC));
}

#[test]
fn broken_chains_are_unreliable() {
    let frames = asleep_frames();
    let broken = |target: Addr| {
        let mut image = asleep();
        image.set(STACK + SAVED_SP, STACK);
        image.set(SLEEPER + BACK_CHAIN, target);
        image
    };
    assert_unreliable(&broken(CALLER + 4), &frames[..1], Unreliable::Misaligned(CALLER + 4));
    assert_unreliable(&broken(SLEEPER), &frames[..1], Unreliable::DidNotAdvance(SLEEPER));
    assert_unreliable(&broken(STACK), &frames[..1], Unreliable::DidNotAdvance(STACK));
    let outside = STACK + 0x10_0000;
    let unreadable = Unreliable::CouldNotReadStack(outside + RETURN_ADDRESS);
    assert_unreliable(&broken(outside), &frames[..1], unreadable);
}

#[test]
fn a_chain_leads_only_to_where_a_function_was_called() {
    let frames = asleep_frames();
    for target in (CALLER + 8..LAST).step_by(8) {
        let mut image = asleep();
        image.set(SLEEPER + BACK_CHAIN, target);
        // Even where what passes for a return address is above it.
        image.set(target + RETURN_ADDRESS, B);
        let walked = image.walk::<S390>();
        assert!(matches!(&walked, Err((found, _)) if *found == frames[..1]), "{target:#x}: {walked:x?}");
    }
}

#[test]
fn what_user_mode_had_in_its_registers_is_no_frame() {
    let frames = asleep_frames();
    for above in [8, FRAME_OVERHEAD, FRAME_OVERHEAD + 144] {
        let mut image = asleep();
        // All that a frame would need.
        for addr in (BOTTOM..STACK + SIZE as u64).step_by(8) {
            image.set(addr, B);
        }
        image.set(CALLER + BACK_CHAIN, LAST + above);
        assert_unreliable(&image, &frames[..2], Unreliable::NotTheBottom(LAST + above));
    }
}

#[test]
fn return_addresses_are_behind_calls_in_text_that_can_be_walked() {
    let frames = asleep_frames();
    let returning_to = |pc| {
        let mut image = asleep();
        image.set(CALLER + RETURN_ADDRESS, pc);
        image
    };
    let mut expected = asleep_frames();
    expected[1].cursor.pc = C;
    assert_eq!(returning_to(C).walk::<S390>(), Ok(expected));
    // Behind the NOP, where nothing returns to; in the middle of an instruction; behind the patch site.
    for pc in [TEXT + 20, TEXT + 13, TEXT + 34] {
        assert_unreliable(&returning_to(pc), &frames[..1], Unreliable::NotAfterCall(pc));
    }
    assert_unreliable(&returning_to(0x1234), &frames[..1], Unreliable::NotText(0x1234));
    let program = TEXT + 0x4000;
    let mut image = returning_to(program + 6);
    image.add_text(program - 2, &[[7; 2].as_slice(), &BRASL, &BRASL].concat(), Code::Generated);
    assert_unreliable(&image, &frames[..1], Unreliable::Unwalkable(program + 6));
}

#[test]
fn traced_functions_return_to_a_trampoline() {
    let mut image = asleep();
    image.set(CALLER + RETURN_ADDRESS, TRAMPOLINE);
    let frames = asleep_frames();
    assert_unreliable(&image, &frames[..1], Unreliable::ReturnLost(ReturnTrampoline::Graph));
    image.kept[ReturnTrampoline::Graph as usize] = vec![B];
    let mut kept = asleep_frames();
    kept[1].found = Found::Kept(ReturnTrampoline::Graph);
    assert_eq!(image.walk::<S390>(), Ok(kept.clone()));
    // A return probe came first, and put its own trampoline where the function-graph tracer found the return address.
    image.kept = Default::default();
    image.kept[ReturnTrampoline::Graph as usize] = vec![PROBE];
    image.kept[ReturnTrampoline::Probe as usize] = vec![B];
    kept[1].found = Found::Kept(ReturnTrampoline::Probe);
    assert_eq!(image.walk::<S390>(), Ok(kept.clone()));
    image.kept[ReturnTrampoline::Probe as usize].push(C);
    assert_unreliable(&image, &kept, Unreliable::ReturnLeft(ReturnTrampoline::Probe));
}

#[test]
fn the_context_switch_may_be_traced() {
    let mut image = asleep();
    switch_out(&mut image, SLEEPER, TRAMPOLINE);
    image.kept[ReturnTrampoline::Graph as usize] = vec![A];
    let mut frames = asleep_frames();
    frames[0].found = Found::Kept(ReturnTrampoline::Graph);
    assert_eq!(image.walk::<S390>(), Ok(frames));
}

const ASYNC: Addr = STACK + 0x10_0000;
/// Where whoever goes on to that stack starts.
const ASYNC_FIRST: Addr = ASYNC + 0x4000 - 200 - FRAME_OVERHEAD;

/// A softirq, from a task: `do_softirq` (which goes on at B) has gone on to the interrupt stack.
fn on_the_interrupt_stack() -> Image {
    let mut image = image();
    image.memory.insert(ASYNC, vec![0; SIZE]);
    image.stacks.insert(0, Range { start: ASYNC, size: SIZE as u64 });
    image.start = Start::At(Cursor { pc: TEXT + 2, sp: ASYNC_FIRST - 0x80, fp: 0, exact: true });
    set_frame(&mut image, ASYNC_FIRST - 0x80, ASYNC_FIRST, B);
    set_frame(&mut image, ASYNC_FIRST, CALLER, C);
    set_frame(&mut image, CALLER, LAST, SYSTEM_CALL);
    image
}

#[test]
fn a_back_chain_leads_from_the_interrupt_stack_to_the_tasks() {
    let start = Cursor { pc: TEXT + 2, sp: ASYNC_FIRST - 0x80, fp: 0, exact: true };
    let frames = vec![
        Frame { cursor: start, found: Found::Start },
        frame(B, ASYNC_FIRST, Found::Chain),
        frame(C, CALLER, Found::Chain),
        frame(SYSTEM_CALL, LAST, Found::Chain),
    ];
    assert_eq!(on_the_interrupt_stack().walk::<S390>(), Ok(frames.clone()));
    // Never back.
    let mut image = on_the_interrupt_stack();
    image.set(CALLER + BACK_CHAIN, ASYNC_FIRST);
    let back = Unreliable::CouldNotReadStack(ASYNC_FIRST + RETURN_ADDRESS);
    assert_unreliable(&image, &frames[..3], back);
    // Where the interrupt came on that stack itself, or from a task's code.
    let mut image = on_the_interrupt_stack();
    image.set(ASYNC_FIRST + BACK_CHAIN, 0);
    image.set(ASYNC_FIRST + FRAME_OVERHEAD + BLOCK_PC, C);
    assert_unreliable(&image, &frames[..2], Unreliable::Exception(C));
}

#[test]
fn a_word_that_is_lost_never_shortens_a_reliable_walk() {
    for good in [asleep(), on_the_interrupt_stack()] {
        let frames = good.walk::<S390>().expect("reliable");
        for stack in &good.stacks {
            for addr in (stack.start..stack.start + stack.size).step_by(8) {
                for value in [0, stack.start, BOTTOM, B, u64::MAX] {
                    let mut image = good.clone();
                    image.set(addr, value);
                    if let Ok(found) = image.walk::<S390>() {
                        assert_eq!(found.len(), frames.len(), "{value:#x} at {addr:#x}: {found:x?}");
                    }
                }
            }
        }
    }
}
