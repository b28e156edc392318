// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks over stacks as the kernel's compiler, entry code and tracers leave them.

extern crate std;
use std::vec::Vec;

use klp_conformance::host::stack::walk as walk_with;
use klp_conformance::image::Image;
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Frame, ReturnTrampoline, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::Riscv64;

const STACK: Addr = 0xffff_ffc6_0080_0000;
const SIZE: usize = 0x4000;
/// The block at the high end.
const BOTTOM: Addr = STACK + SIZE as u64 - 288;
const TEXT: Addr = 0xffff_ffff_8001_0000;

/// What gcc makes of a function that calls: compressed instructions.
const FUNCTION: [u8; 32] = {
    let halves: [u16; 16] = [
        0x0001, 0x0001, 0x0001, 0x0001, // four nops
        0x1141, // addi sp,sp,-16
        0xe406, // sd ra,8(sp)
        0xe022, // sd s0,0(sp)
        0x0800, // addi s0,sp,16
        0x0097, 0x0000, 0x80e7, 0x0000, // call
        0x60a2, // ld ra,8(sp)
        0x6402, // ld s0,0(sp)
        0x0141, // addi sp,sp,16
        0x8082, // ret
    ];
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 16 {
        [bytes[2 * i], bytes[2 * i + 1]] = halves[i].to_le_bytes();
        i += 1;
    }
    bytes
};
/// The number of functions there are.
const FUNCTIONS: u64 = 8;

/// The return address into the `i`th function.
const fn function(i: u64) -> Addr {
    assert!(i < FUNCTIONS);
    TEXT + 32 * i + 24
}

/// `handle_exception`, behind the call of a handler whose address is in a register (`jalr t1`, compressed).
const ENTRY_TEXT: Addr = TEXT + 0x2000;
const ENTRY: Addr = ENTRY_TEXT + 4;
/// `ret_from_fork`: `call schedule_tail`, and behind `jalr s0`.
const FORK_TEXT: Addr = ENTRY_TEXT + 0x100;
const THREAD: Addr = FORK_TEXT + 14;
/// `_start_kernel`, in front of the kernel's text: behind the last call before it jumps to `start_kernel`.
const HEAD_TEXT: Addr = TEXT - 0x2000;
const HEAD: Addr = HEAD_TEXT + 8;
const TRAMPOLINE: Addr = TEXT + 0x3000;
/// `ftrace_caller`, which makes no frame.
const FTRACE_TEXT: Addr = TEXT + 0x4000;
/// Text that is discarded after boot.
const INIT_TEXT: Addr = TEXT + 0x5000;

const CALL: [u8; 8] = [0x97, 0, 0, 0, 0xe7, 0x80, 0, 0];

/// Text, a stack, and registers of user mode at its high end.
fn image() -> Image {
    let mut image = Image::new(Endian::Little, STACK, SIZE);
    image.add_text(TEXT, &FUNCTION.repeat(8), Code::Function);
    image.add_text(ENTRY_TEXT, &[0x01, 0x00, 0x02, 0x93, 0x01, 0x00], Code::Entry);
    let fork: Vec<u8> = CALL.into_iter().chain([0x19, 0xc0, 0x26, 0x85, 0x02, 0x94, 0x0a, 0x85]).collect();
    image.add_text(FORK_TEXT, &fork, Code::Entry);
    image.add_text(HEAD_TEXT, &[&CALL[..], &[0x17, 0x03, 0, 0, 0x67, 0, 3, 0]].concat(), Code::Entry);
    image.add_text(TRAMPOLINE, &[0x01, 0x00], Code::ReturnTrampoline(ReturnTrampoline::Graph));
    image.add_text(FTRACE_TEXT, &CALL, Code::Generated);
    image.add_text(INIT_TEXT, &FUNCTION, Code::Discarded);
    image.bottom = BOTTOM;
    for addr in (BOTTOM..BOTTOM + 288).step_by(8) {
        image.set(addr, 0x3f_ff00_0000 + addr % 288);
    }
    image
}

/// A frame whose pointer is `fp`.
fn frame(image: &mut Image, fp: Addr, pc: Addr, caller_fp: u64) {
    image.set(fp - 8, pc);
    image.set(fp - 16, caller_fp);
}

/// Frames 0x400 bytes apart from `first` on, whose functions return to these; the last is `last`, and saved `fp` there.
fn chain(image: &mut Image, first: Addr, returns: &[Addr], last: Addr, fp: u64) {
    let count = returns.len() as u64;
    let at = |i: u64| if i + 1 == count { last } else { first + 0x400 * i };
    for (i, &pc) in (0..).zip(returns) {
        let caller_fp = if i + 1 == count { fp } else { at(i + 1) };
        frame(image, at(i), pc, caller_fp);
    }
    image.start = Start::SwitchedOut(Saved { sp: first - 0x40, pc: function(0), fp: at(0) });
}

/// The block of an exception that interrupted `pc` with this stack and frame pointer, and the frame of its handler, which is
/// returned.
fn exception(image: &mut Image, pc: Addr, sp: Addr, fp: u64) -> Addr {
    let block = sp - 288;
    for (offset, word) in [(0, pc), (8, function(7)), (16, sp), (64, fp)] {
        image.set(block + offset, word);
    }
    frame(image, block, ENTRY, sp);
    block
}

/// Addresses of frames, each with whether it is exact.
type Pcs = Vec<(Addr, bool)>;

fn walk(image: &Image) -> Result<Pcs, (Pcs, Unreliable)> {
    let walked = walk_with::<Riscv64>(image);
    assert_eq!(walked.stray(image), None);
    let pcs = walked.frames.iter().map(|frame: &Frame| (frame.cursor.pc, frame.cursor.exact)).collect();
    match walked.end {
        Ok(()) => Ok(pcs),
        Err(reason) => Err((pcs, reason)),
    }
}

fn returns(pcs: &[Addr]) -> Pcs {
    pcs.iter().map(|&pc| (pc, false)).collect()
}

#[test]
fn a_system_call() {
    let mut image = image();
    chain(&mut image, STACK + 0x400, &[function(1), function(2), ENTRY], BOTTOM, 0x3f_ff12_3450);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), function(2), ENTRY])));
}

#[test]
fn what_user_mode_had_in_its_registers_is_no_frame() {
    // Were the frame pointer at the stack's end, orig_a0 and cause would be the words of a frame.
    for above in [16, 144, 288] {
        let mut image = image();
        frame(&mut image, BOTTOM + above, function(3), BOTTOM);
        chain(&mut image, STACK + 0x400, &[function(1)], STACK + 0x400, BOTTOM + above);
        let frames = returns(&[function(0), function(1)]);
        assert_eq!(walk(&image), Err((frames, Unreliable::NotTheBottom(BOTTOM + above))));
    }
}

#[test]
fn threads_and_idle_tasks_end_in_code_that_nobody_called() {
    // What kthread() and start_kernel() saved of s0 is no frame pointer: a function, or what boot code left there.
    for (last, fp) in [(THREAD, function(4)), (HEAD, 0), (HEAD, u64::MAX)] {
        let mut image = image();
        let start_kernel = INIT_TEXT + 24;
        let first = if last == HEAD { start_kernel } else { function(2) };
        chain(&mut image, STACK + 0x400, &[function(1), first, last], BOTTOM, fp);
        assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), first, last])));
    }
}

#[test]
fn only_entry_code_is_the_bottom() {
    // As if the bounds of entry code were not known: the block is there, and nobody knows what it is.
    let mut image = image();
    chain(&mut image, STACK + 0x400, &[function(1), function(2)], BOTTOM, 0x3f_ff12_3450);
    let frames = returns(&[function(0), function(1), function(2)]);
    assert_eq!(walk(&image), Err((frames.clone(), Unreliable::CouldNotReadStack(0x3f_ff12_3448))));
    // And with entry code below another block than the last.
    chain(&mut image, STACK + 0x400, &[function(1), ENTRY], BOTTOM - 0x20, 0x3f_ff12_3450);
    let frames = returns(&[function(0), function(1), ENTRY]);
    assert_eq!(walk(&image), Err((frames, Unreliable::NotTheBottom(BOTTOM - 0x20))));
}

#[test]
fn a_new_task_has_one_frame() {
    for fp in [0, function(4) - 24] {
        let mut image = image();
        image.start = Start::SwitchedOut(Saved { sp: BOTTOM, pc: FORK_TEXT, fp });
        assert_eq!(walk(&image), Ok([(FORK_TEXT, true)].into()));
        // Elsewhere than at the bottom, entry code was not reached by copy_thread().
        image.start = Start::SwitchedOut(Saved { sp: BOTTOM - 16, pc: FORK_TEXT, fp });
        assert_eq!(walk(&image), Err(([(FORK_TEXT, true)].into(), Unreliable::Exception(FORK_TEXT))));
    }
    let mut image = image();
    image.start = Start::SwitchedOut(Saved { sp: BOTTOM, pc: TEXT + 32, fp: 0 });
    assert_eq!(walk(&image), Err((Vec::new(), Unreliable::NotAfterCall(TEXT + 32))), "no function starts so");
    image.start = Start::SwitchedOut(Saved { sp: BOTTOM - 8, pc: FORK_TEXT, fp: 0 });
    assert_eq!(walk(&image), Err((Vec::new(), Unreliable::Misaligned(BOTTOM - 8))));
}

#[test]
fn interrupted_code_has_no_known_caller() {
    // From the first instruction to behind the return: with a frame, or with ra alone, or with s0 where others have ra.
    for offset in (0..32).step_by(2) {
        let mut image = image();
        let (pc, sp) = (TEXT + offset, STACK + 0x2000);
        let handler = exception(&mut image, pc, sp, STACK + 0x2400);
        frame(&mut image, STACK + 0x2400, function(2), BOTTOM);
        frame(&mut image, BOTTOM, ENTRY, 0);
        chain(&mut image, STACK + 0x400, &[function(1), ENTRY], handler, sp);
        let mut frames = returns(&[function(0), function(1), ENTRY]);
        frames.push((pc, true));
        assert_eq!(walk(&image), Err((frames, Unreliable::Exception(pc))));
    }
}

#[test]
fn a_block_that_is_not_below_the_interrupted_stack_pointer_is_none() {
    for (saved, in_block) in [(0x10, 0), (0, 0x10), (0x10, 0x10)] {
        let mut image = image();
        let sp = STACK + 0x2000;
        let handler = exception(&mut image, function(3), sp, STACK + 0x2400);
        image.set(handler + 16, sp + in_block);
        chain(&mut image, STACK + 0x400, &[function(1), ENTRY], handler, sp + saved);
        let frames = returns(&[function(0), function(1), ENTRY]);
        assert_eq!(walk(&image), Err((frames, Unreliable::NotTheBottom(handler))));
    }
}

#[test]
fn an_interrupt_stack() {
    // Higher or lower than the task's, which call_on_irq_stack() leaves with a frame of its own.
    for irq in [STACK - 0x10000, STACK + 0x10000] {
        let mut image = image();
        image.memory.insert(irq, [0; 0x1000].into());
        image.stacks.insert(0, Range { start: irq, size: 0x1000 });
        let away = STACK + 0x3000;
        frame(&mut image, irq + 0x800, function(1), irq + 0x1000);
        frame(&mut image, irq + 0x1000, function(2), away);
        frame(&mut image, away, function(3), BOTTOM);
        frame(&mut image, BOTTOM, ENTRY, 0);
        let cursor = Cursor { pc: function(0), sp: irq + 0x700, fp: irq + 0x800, exact: false };
        image.start = Start::At(cursor);
        let all = [function(0), function(1), function(2), function(3), ENTRY];
        assert_eq!(walk(&image), Ok(returns(&all)));
        // And never back.
        frame(&mut image, away, function(3), irq + 0x900);
        let frames = returns(&all[..4]);
        assert_eq!(walk(&image), Err((frames, Unreliable::CouldNotReadStack(irq + 0x8f8))));
    }
}

#[test]
fn an_interrupt_between_the_two_stacks() {
    // On the task's stack: do_irq() has interrupted code, and has not gone away yet, or is back.
    let mut image = image();
    let sp = STACK + 0x2000;
    let block = exception(&mut image, function(3), sp, BOTTOM);
    image.start = Start::At(Cursor { pc: function(1), sp: block - 0x40, fp: block, exact: false });
    let mut frames = returns(&[function(1), ENTRY]);
    frames.push((function(3), true));
    assert_eq!(walk(&image), Err((frames, Unreliable::Exception(function(3)))));
}

#[test]
fn arguments_that_a_function_looks_at_by_va_arg_lie_above_its_frame() {
    let mut image = image();
    // printk() and what it calls: 48 bytes between the frame pointer and what the caller's stack pointer was.
    chain(&mut image, STACK + 0x400, &[function(1), function(2), function(3), ENTRY], BOTTOM, 0);
    frame(&mut image, STACK + 0x400, function(1), STACK + 0x800 - 0x30);
    frame(&mut image, STACK + 0x800 - 0x30, function(2), STACK + 0xc00);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), function(2), function(3), ENTRY])));
}

#[test]
fn trampolines() {
    let mut image = image();
    chain(&mut image, STACK + 0x400, &[TRAMPOLINE, function(2), ENTRY], BOTTOM, 0);
    let lost = Unreliable::ReturnLost(ReturnTrampoline::Graph);
    assert_eq!(walk(&image), Err((returns(&[function(0)]), lost)));
    image.kept[ReturnTrampoline::Graph as usize] = [function(5)].into();
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(5), function(2), ENTRY])));
    // ftrace_caller() makes no frame: its callback's leads to the caller of the caller of the function that is traced.
    chain(&mut image, STACK + 0x400, &[FTRACE_TEXT + 8, function(2), ENTRY], BOTTOM, 0);
    image.kept[ReturnTrampoline::Graph as usize].clear();
    assert_eq!(walk(&image), Err((returns(&[function(0)]), Unreliable::Unwalkable(FTRACE_TEXT + 8))));
}

#[test]
fn a_broken_chain_is_unreliable() {
    let mut image = image();
    let one = returns(&[function(0)]);
    let mut broken = |fp: u64| {
        image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(0), fp });
        walk(&image)
    };
    assert_eq!(broken(STACK + 0x208), Err((one.clone(), Unreliable::Misaligned(STACK + 0x208))));
    assert_eq!(broken(0), Err((one.clone(), Unreliable::CouldNotReadStack(0_u64.wrapping_sub(8)))));
    assert_eq!(broken(STACK + 0x100), Err((one.clone(), Unreliable::DidNotAdvance(STACK + 0x100))));
    assert_eq!(broken(STACK + 0x80), Err((one.clone(), Unreliable::DidNotAdvance(STACK + 0x80))));
    assert_eq!(broken(STACK), Err((one.clone(), Unreliable::CouldNotReadStack(STACK - 8))));
    let beyond = STACK + SIZE as u64 + 16;
    assert_eq!(broken(beyond), Err((one, Unreliable::CouldNotReadStack(beyond - 8))));
}
