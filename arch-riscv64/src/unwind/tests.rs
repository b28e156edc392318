// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks over stacks as compilers and entry code leave them.

extern crate std;
use std::vec::Vec;

use klp_conformance::image::Image;
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Found, Frame, ReturnTrampoline, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::Riscv64;

const STACK: Addr = 0xff20_0000_0001_0000;
const SIZE: usize = 0x4000;
const PT_REGS: u64 = 288;
/// The block at the high end.
const BOTTOM: Addr = STACK + SIZE as u64 - PT_REGS;
/// What entry code has in s0 when it calls: user mode's stack pointer.
const USER_SP: u64 = 0x3f_ffff_f4a0;

const TEXT: Addr = 0xffff_ffff_8001_0000;
/// A function as it is compiled: from byte 18 and from byte 26 on, a call.
const FUNCTION: [u16; 32] = {
    let mut code = [0x0001; 32];
    let insns = [
        0x0013, 0, 0x0013, 0,      // nop; nop
        0x1101, // c.addi sp,-32
        0xe822, // c.sdsp s0,16(sp)
        0xec06, // c.sdsp ra,24(sp)
        0x1000, // c.addi4spn s0,sp,32
        0x87aa, // c.mv a5,a0
        0x00ef, 0,      // jal
        0xc111, // c.beqz a0
        0x87aa, // c.mv a5,a0
        0x9782, // c.jalr a5
        0x87aa, // c.mv a5,a0
        0x60e2, // c.ldsp ra,24(sp)
        0x6442, // c.ldsp s0,16(sp)
        0x6105, // c.addi16sp sp,32
        0x8082, // ret
    ];
    let mut i = 0;
    while i < insns.len() {
        code[i] = insns[i];
        i += 1;
    }
    code
};
/// Entry code: a block is saved, the handler called; behind it `ret_from_fork`, which begins with a call, and calls the
/// thread's function later.
const ENTRY_TEXT: Addr = TEXT + 0x2000;
const ENTRY_CODE: [u16; 12] = [
    0x0013, 0, 0x00ef, 0, // nop; jal
    0x8067, 0, // ret
    0x0097, 0, 0x80e7, 0,      // auipc ra; jalr ra
    0x8526, // c.mv a0,s1
    0x9402, // c.jalr s0
];
const ENTRY: Addr = ENTRY_TEXT + 8;
const NEW_TASK: Addr = ENTRY_TEXT + 12;
const THREAD: Addr = ENTRY_TEXT + 24;
const TRAMPOLINE: Addr = TEXT + 0x3000;
/// Text that was discarded after boot.
const BOOT_TEXT: Addr = TEXT + 0x80_0000;
const BOOT: Addr = BOOT_TEXT + 22;

fn bytes(code: &[u16]) -> Vec<u8> {
    code.iter().flat_map(|parcel| parcel.to_le_bytes()).collect()
}

/// The number of functions there are.
const FUNCTIONS: u64 = 8;

/// The return address into the `i`th function, behind a call of 4 bytes or of 2.
const fn function(i: u64) -> Addr {
    assert!(i < FUNCTIONS);
    TEXT + 64 * i + if i.is_multiple_of(2) { 22 } else { 28 }
}

fn image() -> Image {
    let mut image = Image::new(Endian::Little, STACK, SIZE);
    let functions: Vec<u16> = (0..FUNCTIONS).flat_map(|_| FUNCTION).collect();
    image.add_text(TEXT, &bytes(&functions), Code::Function);
    image.add_text(ENTRY_TEXT, &bytes(&ENTRY_CODE), Code::Entry);
    image.add_text(TRAMPOLINE, &bytes(&[1, 1]), Code::ReturnTrampoline(ReturnTrampoline::Graph));
    image.add_text(BOOT_TEXT, &bytes(&FUNCTION), Code::Discarded);
    image.bottom = BOTTOM;
    image
}

/// Makes the record of a function whose frame pointer is `fp`.
fn record(image: &mut Image, fp: Addr, caller_fp: u64, pc: Addr) {
    image.set(fp - 16, caller_fp);
    image.set(fp - 8, pc);
}

/// Frame pointers of functions, the newest being the `i`th.
const fn frame(i: u64) -> Addr {
    STACK + 0x200 + 0x400 * i
}

/// A chain of records, the last of which is the first on the stack; switched out in the first function.
fn chain(image: &mut Image, returns: &[Addr]) {
    for (i, &pc) in (0..).zip(returns) {
        let is_last = i + 1 == returns.len() as u64;
        let (fp, caller_fp) = match (is_last, i + 2 == returns.len() as u64) {
            (true, _) => (BOTTOM, USER_SP),
            (false, true) => (frame(i), BOTTOM),
            (false, false) => (frame(i), frame(i + 1)),
        };
        record(image, fp, caller_fp, pc);
    }
    let fp = if returns.len() > 1 { frame(0) } else { BOTTOM };
    image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(0), fp });
}

/// Addresses of frames, each with whether it is exact.
type Pcs = Vec<(Addr, bool)>;

fn pcs(frames: &[Frame]) -> Pcs {
    frames.iter().map(|frame| (frame.cursor.pc, frame.cursor.exact)).collect()
}

fn walk(image: &Image) -> Result<Pcs, (Pcs, Unreliable)> {
    match image.walk::<Riscv64>() {
        Ok(frames) => Ok(pcs(&frames)),
        Err((frames, reason)) => Err((pcs(&frames), reason)),
    }
}

fn returns(pcs: &[Addr]) -> Pcs {
    pcs.iter().map(|&pc| (pc, false)).collect()
}

/// Makes the register block of an exception at `block`, and the record of what handles it.
fn interrupt(image: &mut Image, block: Addr, pc: Addr, fp: Addr) {
    for (offset, word) in [(0, pc), (16, block + PT_REGS), (64, fp), (256, 0x100)] {
        image.set(block + offset, word);
    }
    record(image, block, block + PT_REGS, ENTRY);
    image.start = Start::SwitchedOut(Saved { sp: block - 0x80, pc: function(0), fp: block });
}

#[test]
fn a_task_asleep_in_a_system_call() {
    let mut image = image();
    chain(&mut image, &[function(1), function(2), function(3), ENTRY]);
    let expected = [function(0), function(1), function(2), function(3), ENTRY];
    assert_eq!(walk(&image), Ok(returns(&expected)));
    let frames = image.walk::<Riscv64>().expect("reliable");
    assert_eq!(frames[0].found, Found::Start);
    assert!(frames[1..].iter().all(|frame| frame.found == Found::Chain));
    let sps: Vec<Addr> = frames.iter().map(|frame| frame.cursor.sp).collect();
    assert_eq!(sps, [STACK + 0x100, frame(0), frame(1), frame(2), BOTTOM]);
}

#[test]
fn a_kernel_thread() {
    let mut image = image();
    chain(&mut image, &[function(1), THREAD]);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), THREAD])));
}

#[test]
fn a_new_task() {
    let mut image = image();
    // s0 is the function of a kernel thread.
    for fp in [0, TEXT + 64] {
        image.start = Start::SwitchedOut(Saved { sp: BOTTOM, pc: NEW_TASK, fp });
        assert_eq!(walk(&image), Ok([(NEW_TASK, true)].into()));
    }
    // With anything on its stack it is not new.
    image.start = Start::SwitchedOut(Saved { sp: BOTTOM - 16, pc: NEW_TASK, fp: 0 });
    assert_eq!(walk(&image), Err(([(NEW_TASK, true)].into(), Unreliable::Exception(NEW_TASK))));
}

#[test]
fn where_no_task_is_switched_out() {
    let mut image = image();
    let mut start = |sp, pc| {
        image.start = Start::SwitchedOut(Saved { sp, pc, fp: BOTTOM });
        walk(&image)
    };
    for pc in [function(0) + 4, function(0) - 2, function(0) - 1, 0] {
        assert_eq!(start(BOTTOM, pc), Err(([].into(), Unreliable::NotAfterCall(pc))), "{pc:#x}");
    }
    assert_eq!(start(BOTTOM - 8, function(0)), Err(([].into(), Unreliable::Misaligned(BOTTOM - 8))));
}

#[test]
fn an_interrupted_function_called_by_the_first_is_not_the_bottom() {
    let mut image = image();
    // At its first instructions: the stack is empty, s0 that of its caller, and ra the only sign of that.
    for pc in [TEXT, TEXT + 4, TEXT + 8] {
        image.start = Start::At(Cursor { pc, sp: BOTTOM, fp: BOTTOM, exact: true });
        assert_eq!(walk(&image), Err(([(pc, true)].into(), Unreliable::CallerInRegister(pc))));
    }
    // Nor at the call of its patch site.
    let site = bytes(&[0x2297, 0x0001, 0x82e7, 0x8a42]);
    image.text.get_mut(&TEXT).expect("the functions")[..8].copy_from_slice(&site);
    for pc in [TEXT, TEXT + 4] {
        image.start = Start::At(Cursor { pc, sp: BOTTOM, fp: BOTTOM, exact: true });
        assert_eq!(walk(&image), Err(([(pc, true)].into(), Unreliable::CallerInRegister(pc))));
    }
}

#[test]
fn an_exception_ends_the_walk_at_the_interrupted_function() {
    let block = STACK + 0x400;
    let mut image = image();
    let mut interrupted_at = |offset| {
        interrupt(&mut image, block, TEXT + offset, STACK + 0x800);
        let Err((frames, reason)) = walk(&image) else { panic!("reliable across an exception") };
        assert_eq!(frames, [(function(0), false), (ENTRY, false), (TEXT + offset, true)]);
        reason
    };
    for offset in [0, 4, 8, 10, 12, 14, 32, 34, 36] {
        assert_eq!(interrupted_at(offset), Unreliable::CallerInRegister(TEXT + offset), "byte {offset}");
    }
    for offset in [16, 18, 22, 24, 26, 28, 30] {
        assert_eq!(interrupted_at(offset), Unreliable::Exception(TEXT + offset), "byte {offset}");
    }
    let (frames, _) = image.walk::<Riscv64>().expect_err("unreliable");
    let interrupted = frames[2];
    assert_eq!(interrupted.found, Found::Registers);
    assert_eq!((interrupted.cursor.sp, interrupted.cursor.fp), (block + PT_REGS, STACK + 0x800));
}

#[test]
fn text_that_cannot_be_read_says_nothing() {
    let mut image = image();
    image.text.remove(&TEXT);
    image.start = Start::At(Cursor { pc: TEXT + 8, sp: STACK + 0x100, fp: BOTTOM, exact: true });
    assert_eq!(walk(&image), Err(([(TEXT + 8, true)].into(), Unreliable::Exception(TEXT + 8))));
}

#[test]
fn a_block_that_is_no_exceptions_is_refused() {
    let block = STACK + 0x400;
    let damage: [(u64, u64); 3] = [
        // The interrupted stack pointer is not s0's, nor the block's end.
        (16, block + PT_REGS + 16),
        // User mode was interrupted, and this is not the bottom.
        (256, 0),
        (256, 0x20),
    ];
    for (offset, word) in damage {
        let mut image = image();
        interrupt(&mut image, block, TEXT + 16, STACK + 0x800);
        image.set(block + offset, word);
        let frames = returns(&[function(0), ENTRY]);
        assert_eq!(walk(&image), Err((frames, Unreliable::Exception(ENTRY))), "{word:#x} at {offset}");
    }
    let mut image = image();
    interrupt(&mut image, block, TEXT + 16, STACK + 0x800);
    record(&mut image, block, block + PT_REGS + 16, ENTRY);
    let frames = returns(&[function(0), ENTRY]);
    assert_eq!(walk(&image), Err((frames, Unreliable::Exception(ENTRY))), "another s0");
}

#[test]
fn an_interrupt_stack() {
    // The handler's frame is on a stack of its own, higher or lower than the task's.
    for irq in [STACK - 0x10000, STACK + 0x10000] {
        let mut image = image();
        image.memory.insert(irq, [0; 0x1000].into());
        image.stacks.insert(0, Range { start: irq, size: 0x1000 });
        let block = STACK + 0x800;
        interrupt(&mut image, block, TEXT, STACK + 0x1000);
        // What the handler of the exception calls is `call_on_irq_stack`, whose record is on the task's stack.
        let (handler, call_on_irq_stack) = (block, block - 0x80);
        record(&mut image, call_on_irq_stack, handler, function(2));
        record(&mut image, irq + 0x1000, call_on_irq_stack, function(1));
        image.start = Start::SwitchedOut(Saved { sp: irq + 0xf00, pc: function(0), fp: irq + 0x1000 });
        let mut expected = returns(&[function(0), function(1), function(2), ENTRY]);
        expected.push((TEXT, true));
        assert_eq!(walk(&image), Err((expected, Unreliable::CallerInRegister(TEXT))));
    }
}

#[test]
fn the_task_that_booted() {
    let mut image = image();
    let start_kernel = BOTTOM - 0x40;
    // Its own return address is in no text, and in none that anything returns to.
    record(&mut image, BOTTOM, 0, 0x8020_1074);
    record(&mut image, start_kernel, BOTTOM, BOOT);
    image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(0), fp: start_kernel });
    assert_eq!(walk(&image), Ok(returns(&[function(0), BOOT])));
    record(&mut image, start_kernel, BOTTOM - 16, BOOT);
    assert!(walk(&image).is_err(), "something is above its frame");
}

#[test]
fn entry_code_is_the_bottom_at_the_bottom_only() {
    let mut image = image();
    chain(&mut image, &[function(1), ENTRY]);
    record(&mut image, frame(0), frame(1), ENTRY);
    let frames = returns(&[function(0), ENTRY]);
    assert_eq!(walk(&image), Err((frames, Unreliable::Exception(ENTRY))));
    // And nothing else is the bottom there.
    chain(&mut image, &[function(1), function(2)]);
    assert!(matches!(walk(&image), Err((_, Unreliable::CouldNotReadStack(_)))));
}

#[test]
fn a_function_that_is_traced() {
    let mut image = image();
    image.kept[ReturnTrampoline::Graph as usize] = [function(2)].into();
    chain(&mut image, &[function(1), TRAMPOLINE, ENTRY]);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), function(2), ENTRY])));
    image.kept[ReturnTrampoline::Graph as usize] = [THREAD].into();
    chain(&mut image, &[TRAMPOLINE]);
    assert_eq!(walk(&image), Ok(returns(&[function(0), THREAD])), "the only one");
}

#[test]
fn a_broken_chain_is_unreliable() {
    let mut image = image();
    let one = returns(&[function(0)]);
    let mut broken = |fp| {
        chain(&mut image, &[function(1), ENTRY]);
        image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(0), fp });
        walk(&image).expect_err("a broken chain")
    };
    assert_eq!(broken(frame(0) + 8), (one.clone(), Unreliable::Misaligned(frame(0) + 8)));
    assert_eq!(broken(0), (one.clone(), Unreliable::CouldNotReadStack(16_u64.wrapping_neg())));
    let beyond = STACK + SIZE as u64 + 16;
    assert_eq!(broken(beyond), (one, Unreliable::CouldNotReadStack(beyond - 16)));

    let two = returns(&[function(0), function(1)]);
    let mut broken = |caller_fp| {
        chain(&mut image, &[function(1), ENTRY]);
        record(&mut image, frame(0), caller_fp, function(1));
        walk(&image).expect_err("a broken chain")
    };
    assert_eq!(broken(frame(0)), (two.clone(), Unreliable::DidNotAdvance(frame(0))));
    assert_eq!(broken(frame(1) + 4), (two, Unreliable::Misaligned(frame(1) + 4)));
}
