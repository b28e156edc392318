// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks over stacks as compilers, entry code and ftrace leave them.

extern crate std;
use std::vec::Vec;

use klp_conformance::image::Image;
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Found, Frame, ReturnTrampoline, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::Arm64;

const STACK: Addr = 0xffff_8000_0a00_0000;
const SIZE: usize = 0x4000;
/// The block at the high end.
const BOTTOM: Addr = STACK + SIZE as u64 - 336;
const FINAL: Addr = BOTTOM + 304;
const META_FINAL: Addr = BOTTOM + 296;

const NOP: u32 = 0xd503_201f;
const BL: u32 = 0x9400_0100;
const BLR_X19: u32 = 0xd63f_0260;
const MOV_X9_X30: u32 = 0xaa1e_03e9;
const PACIASP: u32 = 0xd503_233f;
const STP_RECORD: u32 = 0xa9bd_7bfd;
const MRS: u32 = 0xd538_4102;
const MOV_X29_SP: u32 = 0x9100_03fd;
const SCS_PUSH: u32 = 0xf800_865e;
const LDP_RECORD: u32 = 0xa8c3_7bfd;
const AUTIASP: u32 = 0xd503_23bf;
const RET: u32 = 0xd65f_03c0;
const CBZ: u32 = 0xb400_0040;
const LDTR: u32 = 0xf840_0823;

const TEXT: Addr = 0xffff_8000_0801_0000;
/// A function as it is compiled: 16 instructions, of which the eighth is a call.
const FUNCTION: [u32; 16] = [
    MOV_X9_X30, NOP, PACIASP, STP_RECORD, MRS, MOV_X29_SP, NOP, BL, //
    CBZ, LDTR, CBZ, LDP_RECORD, AUTIASP, RET, NOP, NOP,
];
/// `nop` before `ret_from_fork`, as alignment; that begins with a call, and calls the thread's function later.
const RET_FROM_FORK: [u32; 8] = [RET, NOP, BL, CBZ, NOP, BLR_X19, NOP, BL];
const NEW_TASK: Addr = RET_FROM_FORK_TEXT + 8;
const RET_FROM_FORK_TEXT: Addr = TEXT + 0x1000;
const THREAD: Addr = RET_FROM_FORK_TEXT + 24;
/// Entry code: a block is saved, the handler called.
const ENTRY_TEXT: Addr = TEXT + 0x2000;
const ENTRY: Addr = ENTRY_TEXT + 8;
const TRAMPOLINE: Addr = TEXT + 0x3000;
/// `ftrace_caller`: calls the callback through a register.
const FTRACE_TEXT: Addr = TEXT + 0x4000;
const FTRACE: Addr = FTRACE_TEXT + 8;

fn bytes(insns: &[u32]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_le_bytes()).collect()
}

/// The number of functions there are.
const FUNCTIONS: u64 = 8;

/// The return address into the `i`th function.
const fn function(i: u64) -> Addr {
    assert!(i < FUNCTIONS);
    TEXT + 64 * i + 32
}

/// The address of the instruction with this number in the first function.
const fn insn(i: u64) -> Addr {
    TEXT + 4 * i
}

/// Replaces the first instructions of the first function.
fn write(image: &mut Image, insns: &[u32]) {
    image.text.get_mut(&TEXT).expect("the functions")[..4 * insns.len()].copy_from_slice(&bytes(insns));
}

/// Text, and a stack with the final record of kernels whose record has two words: what is behind it is not looked at.
fn image() -> Image {
    let mut image = Image::new(Endian::Little, STACK, SIZE);
    let functions: Vec<u32> = (0..FUNCTIONS).flat_map(|_| FUNCTION).collect();
    image.add_text(TEXT, &bytes(&functions), Code::Function);
    image.add_text(RET_FROM_FORK_TEXT, &bytes(&RET_FROM_FORK), Code::Function);
    image.add_text(ENTRY_TEXT, &bytes(&[NOP, BL, NOP]), Code::Entry);
    image.add_text(TRAMPOLINE, &bytes(&[NOP]), Code::ReturnTrampoline(ReturnTrampoline::Graph));
    image.add_text(FTRACE_TEXT, &bytes(&[NOP, BLR_X19, NOP]), Code::Function);
    image.bottom = BOTTOM;
    image.set(FINAL + 16, 0xdead);
    image
}

/// Makes records at `start`, `start + 0x400`, …, the last of which leads to `last`; switched out in the first function.
fn chain(image: &mut Image, start: Addr, returns: &[Addr], last: Addr) {
    for (i, &pc) in (0..).zip(returns) {
        let record = start + 0x400 * i;
        let next = if i + 1 == returns.len() as u64 { last } else { record + 0x400 };
        image.set(record, next);
        image.set(record + 8, pc);
    }
    let fp = if returns.is_empty() { last } else { start };
    image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(0), fp });
}

/// Addresses of frames, each with whether it is exact.
type Pcs = Vec<(Addr, bool)>;

fn pcs(frames: &[Frame]) -> Pcs {
    frames.iter().map(|frame| (frame.cursor.pc, frame.cursor.exact)).collect()
}

fn walk(image: &Image) -> Result<Pcs, (Pcs, Unreliable)> {
    match image.walk::<Arm64>() {
        Ok(frames) => Ok(pcs(&frames)),
        Err((frames, reason)) => Err((pcs(&frames), reason)),
    }
}

fn returns(pcs: &[Addr]) -> Pcs {
    pcs.iter().map(|&pc| (pc, false)).collect()
}

/// Makes the register block of an exception at `block`, in kernels whose record has two words: the handler's record is
/// `below` it and leads to the record in it.
fn interrupt(image: &mut Image, below: Addr, block: Addr, pc: Addr, fp: Addr) {
    image.set(below, block + 304);
    image.set(below + 8, ENTRY);
    for (offset, word) in [(232, fp), (248, block + 336), (256, pc), (304, fp), (312, pc)] {
        image.set(block + offset, word);
    }
    image.start = Start::SwitchedOut(Saved { sp: below, pc: function(0), fp: below });
}

#[test]
fn a_task_asleep_in_a_system_call() {
    let mut image = image();
    chain(&mut image, STACK + 0x100, &[function(1), function(2), function(3), ENTRY], FINAL);
    let expected = [function(0), function(1), function(2), function(3), ENTRY];
    assert_eq!(walk(&image), Ok(returns(&expected)));
    let frames = image.walk::<Arm64>().expect("reliable");
    assert_eq!(frames[0].found, Found::Start);
    assert!(frames[1..].iter().all(|frame| frame.found == Found::Chain));
    let sps: Vec<Addr> = frames.iter().map(|frame| frame.cursor.sp - STACK).collect();
    assert_eq!(sps, [0x100, 0x110, 0x510, 0x910, 0xd10]);
}

#[test]
fn a_kernel_thread() {
    let mut image = image();
    chain(&mut image, STACK + 0x100, &[function(1), THREAD], FINAL);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), THREAD])));
}

#[test]
fn signed_return_addresses() {
    let mut image = image();
    let sign = |pc: Addr| pc & !(0xff7f << 48) | 0x322a << 48;
    chain(&mut image, STACK + 0x100, &[sign(function(1)), sign(THREAD)], FINAL);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), THREAD])));
    chain(&mut image, STACK + 0x100, &[sign(function(1)), sign(TRAMPOLINE), sign(ENTRY)], FINAL);
    image.kept[ReturnTrampoline::Graph as usize] = [function(2)].into();
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), function(2), ENTRY])));
}

#[test]
fn a_new_task() {
    let mut image = image();
    image.start = Start::SwitchedOut(Saved { sp: BOTTOM, pc: NEW_TASK, fp: FINAL });
    assert_eq!(walk(&image), Ok([(NEW_TASK, true)].into()));
    // Its record must be the final one.
    image.start = Start::SwitchedOut(Saved { sp: BOTTOM, pc: NEW_TASK, fp: BOTTOM + 16 });
    assert_eq!(walk(&image), Err(([(NEW_TASK, true)].into(), Unreliable::NotTheBottom(BOTTOM + 16))));
    // With anything on its stack it is not new.
    image.start = Start::SwitchedOut(Saved { sp: BOTTOM - 16, pc: NEW_TASK, fp: FINAL });
    assert_eq!(walk(&image), Err(([(NEW_TASK, true)].into(), Unreliable::Exception(NEW_TASK))));
}

#[test]
fn where_no_task_is_switched_out() {
    let mut image = image();
    let mut start = |sp, pc| {
        image.start = Start::SwitchedOut(Saved { sp, pc, fp: FINAL });
        walk(&image)
    };
    assert_eq!(start(BOTTOM, function(0) + 8), Err(([].into(), Unreliable::NotAfterCall(function(0) + 8))));
    assert_eq!(start(BOTTOM, function(0) - 6), Err(([].into(), Unreliable::NotAfterCall(function(0) - 6))));
    assert_eq!(start(BOTTOM, 0), Err(([].into(), Unreliable::NotAfterCall(0))));
    assert_eq!(start(BOTTOM - 8, function(0)), Err(([].into(), Unreliable::Misaligned(BOTTOM - 8))));
}

#[test]
fn an_interrupted_function_called_by_the_first_is_not_the_bottom() {
    let mut image = image();
    // At its first instruction: the stack is empty, x29 that of its caller, and x30 the only sign of that.
    for pc in [insn(0), insn(1), insn(2)] {
        let cursor = Cursor { pc, sp: BOTTOM, fp: FINAL, exact: true };
        image.start = Start::At(cursor);
        assert_eq!(walk(&image), Err(([(pc, true)].into(), Unreliable::CallerInRegister(pc))));
    }
    // Nor at the call of its patch site, a kprobe in front of it or not.
    for first in [MOV_X9_X30, 0xd420_0080] {
        write(&mut image, &[first, BL]);
        let cursor = Cursor { pc: insn(1), sp: BOTTOM, fp: FINAL, exact: true };
        image.start = Start::At(cursor);
        assert_eq!(walk(&image), Err(([(insn(1), true)].into(), Unreliable::CallerInRegister(insn(1)))));
    }
}

#[test]
fn an_exception_ends_the_walk_at_the_interrupted_function() {
    let (below, block) = (STACK + 0x100, STACK + 0x200);
    let mut image = image();
    let mut interrupted_at = |i| {
        interrupt(&mut image, below, block, insn(i), STACK + 0x800);
        let Err((frames, reason)) = walk(&image) else { panic!("reliable across an exception") };
        assert_eq!(frames, [(function(0), false), (ENTRY, false), (insn(i), true)]);
        reason
    };
    for i in [0, 1, 2, 3, 4, 5, 12, 13] {
        assert_eq!(interrupted_at(i), Unreliable::CallerInRegister(insn(i)), "instruction {i}");
    }
    for i in [6, 7, 8, 9, 10, 11] {
        assert_eq!(interrupted_at(i), Unreliable::Exception(insn(i)), "instruction {i}");
    }
    interrupt(&mut image, below, block, insn(9), STACK + 0x800);
    let (frames, _) = image.walk::<Arm64>().expect_err("unreliable");
    let interrupted = frames[2];
    assert_eq!(interrupted.found, Found::Registers);
    assert_eq!((interrupted.cursor.sp, interrupted.cursor.fp), (block + 336, STACK + 0x800));
}

#[test]
fn a_shadow_call_stack_does_not_hide_the_window_at_entry() {
    let mut image = image();
    write(&mut image, &[NOP, NOP, SCS_PUSH, STP_RECORD, MOV_X29_SP, CBZ, BL, BL]);
    interrupt(&mut image, STACK + 0x100, STACK + 0x200, insn(1), STACK + 0x800);
    assert!(matches!(walk(&image), Err((_, Unreliable::CallerInRegister(_)))));
}

#[test]
fn text_that_cannot_be_read_says_nothing() {
    let mut image = image();
    image.text.remove(&TEXT);
    image.start = Start::At(Cursor { pc: insn(1), sp: STACK + 0x100, fp: FINAL, exact: true });
    assert_eq!(walk(&image), Err(([(insn(1), true)].into(), Unreliable::Exception(insn(1)))));
}

#[test]
fn an_exception_whose_block_was_changed_is_still_one() {
    let mut image = image();
    let (below, block) = (STACK + 0x100, STACK + 0x200);
    interrupt(&mut image, below, block, insn(9), STACK + 0x800);
    // A handler skipped the instruction, so that the record and the block differ.
    image.set(block + 256, insn(10));
    let frames = returns(&[function(0), ENTRY]);
    assert_eq!(walk(&image), Err((frames, Unreliable::Exception(insn(9)))));
}

#[test]
fn an_interrupt_stack() {
    // The handler's frame is on a stack of its own, higher or lower than the task's.
    for irq in [STACK - 0x10000, STACK + 0x10000] {
        let mut image = image();
        image.memory.insert(irq, [0; 0x1000].into());
        image.stacks.insert(0, Range { start: irq, size: 0x1000 });
        let record = STACK + 0x200;
        // call_on_irq_stack's record on the task's stack, then the handler of the exception, then its block.
        image.set(irq + 0xff0, record);
        image.set(irq + 0xff8, function(1));
        image.set(record, STACK + 0x240);
        image.set(record + 8, function(2));
        interrupt(&mut image, STACK + 0x240, STACK + 0x280, insn(0), STACK + 0x800);
        image.start = Start::SwitchedOut(Saved { sp: irq + 0xf00, pc: function(0), fp: irq + 0xff0 });
        let mut expected = returns(&[function(0), function(1), function(2), ENTRY]);
        expected.push((insn(0), true));
        assert_eq!(walk(&image), Err((expected, Unreliable::CallerInRegister(insn(0)))));
    }
}

#[test]
fn metadata_records() {
    let mut image = image();
    chain(&mut image, STACK + 0x100, &[function(1), ENTRY], META_FINAL);
    image.set(META_FINAL + 16, 1);
    assert_eq!(walk(&image), Ok(returns(&[function(0), function(1), ENTRY])));
    // Of another type it is none of these records, and no other is aligned so.
    for kind in [0, 3] {
        image.set(META_FINAL + 16, kind);
        let frames = returns(&[function(0), function(1), ENTRY]);
        assert_eq!(walk(&image), Err((frames, Unreliable::Misaligned(META_FINAL))), "type {kind}");
    }

    // An exception's, in a block of either size.
    let block = STACK + 0x600;
    chain(&mut image, STACK + 0x100, &[function(1), ENTRY], block + 296);
    for (offset, word) in [(232, STACK + 0x800), (248, block + 320), (256, insn(9)), (312, 2)] {
        image.set(block + offset, word);
    }
    let mut frames = returns(&[function(0), function(1), ENTRY]);
    frames.push((insn(9), true));
    assert_eq!(walk(&image), Err((frames, Unreliable::Exception(insn(9)))));

    // A final record below the bottom, where user mode's registers are, or beyond the block, is none.
    for record in [STACK + 0x1000, BOTTOM + 256, BOTTOM + 336] {
        image.memory.insert(STACK + SIZE as u64, [0; 64].into());
        image.stacks[0].size = SIZE as u64 + 64;
        chain(&mut image, STACK + 0x100, &[ENTRY], record);
        image.set(record + 16, 1);
        let frames = returns(&[function(0), ENTRY]);
        assert_eq!(walk(&image), Err((frames, Unreliable::NotTheBottom(record))));
    }
}

#[test]
fn the_chain_ends_with_zeros_in_the_last_block_and_nowhere_else() {
    let mut image = image();
    let frames = || returns(&[function(0), function(1)]);
    chain(&mut image, STACK + 0x100, &[function(1)], STACK + 0x1000);
    assert_eq!(walk(&image), Err((frames(), Unreliable::NotTheBottom(STACK + 0x1000))));
    chain(&mut image, STACK + 0x100, &[function(1)], FINAL - 16);
    assert_eq!(walk(&image), Err((frames(), Unreliable::NotTheBottom(FINAL - 16))));
    chain(&mut image, STACK + 0x100, &[function(1)], FINAL);
    image.set(FINAL + 8, function(2));
    assert_eq!(walk(&image), Err((frames(), Unreliable::NotTheBottom(FINAL))));
}

#[test]
fn ftrace_trampolines_leave_two_records() {
    // The callback's record, the trampoline's own and the one for the function it was called from, whose return address
    // is behind the call at the patch site; `sp` and `pc` of the registers between them are that function's.
    let with_args = |image: &mut Image| {
        let frame = STACK + 0x200;
        image.set(frame + 96, frame + 144);
        image.set(frame + 104, insn(2));
        (frame + 112, frame + 128)
    };
    let with_regs = |image: &mut Image| {
        let frame = STACK + 0x200;
        image.set(frame + 232, STACK + 0x800);
        image.set(frame + 248, frame + 352);
        image.set(frame + 256, insn(2));
        (frame + 304, frame + 336)
    };
    for layout in [&with_args as &dyn Fn(&mut Image) -> (Addr, Addr), &with_regs] {
        let mut image = image();
        write(&mut image, &[MOV_X9_X30, BL]);
        let (own, site) = layout(&mut image);
        image.set(STACK + 0x100, own);
        image.set(STACK + 0x108, FTRACE);
        image.set(own, site);
        image.set(own + 8, insn(2));
        image.set(site, STACK + 0x800);
        image.set(site + 8, function(2));
        image.set(STACK + 0x800, FINAL);
        image.set(STACK + 0x808, ENTRY);
        image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(1), fp: STACK + 0x100 });
        let expected = [function(1), FTRACE, insn(2), function(2), ENTRY];
        assert_eq!(walk(&image), Ok(returns(&expected)));
    }
}

#[test]
fn a_return_probe_on_the_only_function() {
    let mut image = image();
    image
        .code
        .insert(0, (Range { start: TRAMPOLINE, size: 4 }, Code::ReturnTrampoline(ReturnTrampoline::Probe)));
    image.kept[ReturnTrampoline::Probe as usize] = [THREAD].into();
    chain(&mut image, STACK + 0x100, &[TRAMPOLINE], FINAL);
    assert_eq!(walk(&image), Ok(returns(&[function(0), THREAD])));
}

#[test]
fn what_a_return_trampoline_calls_has_lost_its_caller() {
    let mut image = image();
    // The function that would be returned to has the next record; its address is in no list any more.
    image.add_text(TEXT + 0x5000, &bytes(&[NOP, BL, 0xaa00_03fe]), Code::Function);
    let inside = TEXT + 0x5008;
    chain(&mut image, STACK + 0x100, &[function(1), inside, ENTRY], FINAL);
    let frames = returns(&[function(0), function(1), inside]);
    assert_eq!(walk(&image), Err((frames, Unreliable::Unwalkable(inside))));
}

#[test]
fn a_broken_chain_is_unreliable() {
    let mut image = image();
    let one = returns(&[function(0)]);
    let mut broken = |fp, last| {
        chain(&mut image, STACK + 0x100, &[function(1)], last);
        image.start = Start::SwitchedOut(Saved { sp: STACK + 0x100, pc: function(0), fp });
        walk(&image).expect_err("a broken chain")
    };
    assert_eq!(broken(STACK + 0x104, FINAL), (one.clone(), Unreliable::Misaligned(STACK + 0x104)));
    assert_eq!(broken(0, FINAL), (one.clone(), Unreliable::CouldNotReadStack(0)));
    let beyond = STACK + SIZE as u64;
    assert_eq!(broken(beyond, FINAL), (one, Unreliable::CouldNotReadStack(beyond)));

    let two = returns(&[function(0), function(1)]);
    let at = STACK + 0x100;
    assert_eq!(broken(at, at), (two.clone(), Unreliable::DidNotAdvance(at + 16)));
    image.set(STACK + 0x80, STACK + 0x200);
    image.set(STACK + 0x88, function(1));
    let mut broken = |last| {
        chain(&mut image, at, &[function(1)], last);
        walk(&image).expect_err("a broken chain")
    };
    assert_eq!(broken(STACK + 0x80), (two.clone(), Unreliable::DidNotAdvance(STACK + 0x90)));
    image.set(STACK + 0x208, STACK);
    image.set(STACK + 0x210, STACK);
    let mut broken = |last| {
        chain(&mut image, at, &[function(1)], last);
        walk(&image).expect_err("a broken chain")
    };
    assert_eq!(broken(STACK + 0x208), (two, Unreliable::Misaligned(STACK + 0x208)));
}
