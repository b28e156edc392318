// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks over stacks as compilers, `_switch`, `copy_thread`, entry code and tracers leave them.

extern crate std;
use std::vec::Vec;

use klp_conformance::image::Image;
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Found, Frame, ReturnTrampoline, Saved, Start, Unreliable};
use klp_core::{Addr, Endian};

use crate::Ppc64;

const STACK: Addr = 0xc000_0000_0810_0000;
const SIZE: usize = 0x4000;
const TOP: Addr = STACK + SIZE as u64;
/// Elsewhere, and above.
const SOFTIRQ: Addr = 0xc000_0000_0910_0000;
const HARDIRQ: Addr = 0xc000_0000_0910_8000;

/// Bytes of a function's frame.
const FRAME: u64 = 128;

const NOP: u32 = 0x6000_0000;
const BL: u32 = 0x4800_0101;
const BCTRL: u32 = 0x4e80_0421;
const BLR: u32 = 0x4e80_0020;
const B: u32 = 0x4800_0100;

const TEXT: Addr = 0xc000_0000_0001_0000;
const FUNCTIONS: u64 = 12;
/// `ret_from_fork`, which begins with a call, behind a branch.
const FORK_TEXT: Addr = TEXT + 0x1000;
const FORK: Addr = FORK_TEXT + 4;
const GRAPH: Addr = TEXT + 0x2000;
const PROBE: Addr = TEXT + 0x3000;
/// The return stub: what behind its call stands for.
const STUB: Addr = 0xc008_0000_0025_0000;
const STUB_RETURN: Addr = STUB + 4;
const BPF: Addr = 0xc008_0000_0035_0000;

/// The return address into the `i`th function.
const fn function(i: u64) -> Addr {
    assert!(i < FUNCTIONS);
    TEXT + 16 * i + 8
}

/// What differs between kernels.
#[derive(Clone, Copy)]
struct Kernel {
    switch_frame: u64,
    switch_nip: u64,
    marker: u64,
    /// Bytes below the top of the stack at which entry code's frame lies.
    user: u64,
    kthread: u64,
    idle: u64,
    /// An exception's frame, from the interrupted stack pointer down.
    exception: u64,
}

const NEW: Kernel = Kernel {
    switch_frame: 432,
    switch_nip: 304,
    marker: 32,
    user: 432,
    kthread: 32,
    idle: 32,
    exception: 720,
};
const OLD: Kernel = Kernel {
    switch_frame: 496,
    switch_nip: 368,
    marker: 96,
    user: 496,
    kthread: 496,
    idle: 112,
    exception: 784,
};

fn bytes(insns: &[u32]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_le_bytes()).collect()
}

/// Text, and a stack full of what earlier calls left: chain words and return addresses that lead nowhere good.
fn image() -> Image {
    let mut image = Image::new(Endian::Little, STACK, SIZE);
    let functions: Vec<u32> = (0..FUNCTIONS).flat_map(|_| [NOP, BL, NOP, BLR]).collect();
    image.add_text(TEXT, &bytes(&functions), Code::Function);
    image.add_text(FORK_TEXT, &bytes(&[B, BL, B]), Code::Function);
    image.add_text(GRAPH, &bytes(&[NOP]), Code::ReturnTrampoline(ReturnTrampoline::Graph));
    image.add_text(PROBE, &bytes(&[NOP]), Code::ReturnTrampoline(ReturnTrampoline::Probe));
    image.add_text(STUB, &bytes(&[BCTRL, NOP]), Code::ReturnTrampoline(ReturnTrampoline::Patch));
    image.add_text(BPF, &bytes(&[BCTRL, NOP]), Code::Generated);
    for addr in (STACK..TOP).step_by(8) {
        image.set(addr, if addr.is_multiple_of(16) { addr + 0x120 } else { function(11) });
    }
    image
}

/// Frames from `sp` up, of the sizes given with each return address into their caller; the last leads to `last`.
fn frames(image: &mut Image, mut sp: Addr, calls: &[(u64, Addr)], last: Addr) {
    for (i, &(size, ret)) in calls.iter().enumerate() {
        let caller = if i + 1 == calls.len() { last } else { sp + size };
        image.set(sp, caller);
        image.set(caller + 16, ret);
        sp = caller;
    }
}

/// A task asleep: `__switch_to`, `__schedule`, `schedule` and so on, each with the return address into its caller; the
/// first return address is that of `_switch`. Entry code's frame lies at `bottom`.
fn asleep(kernel: Kernel, bottom: Addr, returns: &[Addr]) -> Image {
    let mut image = image();
    let switch = bottom - FRAME * returns.len() as u64 - kernel.switch_frame;
    // The last return address, into entry code, lies in entry code's own frame.
    let mut calls: Vec<(u64, Addr)> = returns.iter().map(|&ret| (FRAME, ret)).collect();
    calls[0].0 = kernel.switch_frame;
    calls.push((FRAME, FORK + 4));
    frames(&mut image, switch, &calls, bottom);
    image.set(switch + kernel.switch_nip, returns[0]);
    image.start = Start::SwitchedOut(Saved { sp: switch, pc: 0, fp: 0 });
    image.bottom = bottom;
    image
}

fn sp(image: &Image) -> Addr {
    let Start::SwitchedOut(Saved { sp, .. }) = image.start else { panic!("switched out") };
    sp
}

fn pcs(frames: &[Frame]) -> Vec<Addr> {
    frames.iter().map(|frame| frame.cursor.pc).collect()
}

fn walk(image: &Image) -> Result<Vec<Addr>, (Vec<Addr>, Unreliable)> {
    image.walk::<Ppc64>().map(|frames| pcs(&frames)).map_err(|(frames, reason)| (pcs(&frames), reason))
}

/// Return addresses into the first `n` functions.
fn returns(n: u64) -> Vec<Addr> {
    (0..n).map(function).collect()
}

#[test]
fn a_task_asleep_in_a_system_call() {
    for kernel in [NEW, OLD] {
        let mut image = asleep(kernel, TOP - kernel.user, &returns(5));
        // User mode's stack pointer, and the marker: nobody looks at the lowest frame.
        image.set(image.bottom, 0x7fff_1234_5670);
        image.set(image.bottom + kernel.marker, 0x5347_4552);
        assert_eq!(walk(&image), Ok(returns(5)));
        let frames = image.walk::<Ppc64>().expect("reliable");
        assert_eq!(frames[0].found, Found::Start);
        assert!(frames[1..].iter().all(|frame| frame.found == Found::Chain && !frame.cursor.exact));
        let sps: Vec<Addr> = frames.iter().map(|frame| image.bottom - frame.cursor.sp).collect();
        assert_eq!(sps, [5, 4, 3, 2, 1].map(|n| n * FRAME));
    }
}

#[test]
fn a_kernel_thread_and_an_idle_task() {
    for kernel in [NEW, OLD] {
        for below_top in [kernel.kthread, kernel.idle] {
            let mut image = asleep(kernel, TOP - below_top, &returns(3));
            image.set(image.bottom, 0);
            assert_eq!(walk(&image), Ok(returns(3)));
        }
    }
}

/// A task whose stack is as `copy_thread` makes it, with what was there before all around.
fn never_run(kernel: Kernel, lowest: Addr) -> Image {
    let mut image = image();
    let switch = lowest - kernel.switch_frame;
    image.set(lowest, 0);
    image.set(switch + kernel.switch_nip, FORK);
    if kernel.switch_frame == NEW.switch_frame {
        image.set(switch, lowest);
        image.set(lowest + 16, FORK);
    }
    image.start = Start::SwitchedOut(Saved { sp: switch, pc: 0, fp: 0 });
    image.bottom = lowest;
    image
}

#[test]
fn a_task_that_has_never_run() {
    for (kernel, below_top) in [(NEW, NEW.user), (NEW, NEW.kthread), (OLD, OLD.user)] {
        let image = never_run(kernel, TOP - below_top);
        let frames = image.walk::<Ppc64>().expect("reliable");
        let start = Cursor { pc: FORK, sp: image.bottom, fp: 0, exact: true };
        assert_eq!(frames, [Frame { cursor: start, found: Found::Start }]);
    }
    // A user task's lowest frame has user mode's stack pointer.
    let mut image = never_run(NEW, TOP - NEW.user);
    image.set(image.bottom, 0x7fff_1234_5670);
    assert_eq!(walk(&image), Ok([FORK].into()));
    // Older kernels make the stack of an idle task for another CPU as any other, but it will run elsewhere on it.
    let mut image = never_run(OLD, TOP - OLD.user);
    image.bottom = TOP - OLD.idle;
    assert_eq!(walk(&image), Err(([FORK].into(), Unreliable::CallerInRegister(FORK))));
}

#[test]
fn what_is_left_on_a_new_stack_is_no_frame() {
    // Whatever the chain word was that is there instead of one.
    for word in [0, STACK, TOP - 0x400, TOP - OLD.user, TOP - OLD.user - 64, function(1)] {
        let mut image = never_run(OLD, TOP - OLD.user);
        image.set(sp(&image), word);
        assert_eq!(walk(&image), Ok([FORK].into()), "{word:#x}");
    }
}

#[test]
fn a_broken_frame_is_no_new_task() {
    let image = never_run(OLD, TOP - OLD.user);
    let switch = sp(&image);
    let with = |addr, word| {
        let mut image = image.clone();
        image.set(addr, word);
        walk(&image)
    };
    let no_frame = Err(([].into(), Unreliable::NotTheBottom(switch)));
    assert_eq!(with(image.bottom, TOP), no_frame, "copy_thread writes zero");
    assert_eq!(with(switch + OLD.switch_nip, function(0)), no_frame, "a return address");
    assert_eq!(with(switch + OLD.switch_nip, FORK + 2), no_frame, "no instruction");
    assert_eq!(with(switch + OLD.switch_nip, 0), no_frame, "no text");
}

#[test]
fn where_no_task_is_switched_out() {
    for kernel in [NEW, OLD] {
        let good = asleep(kernel, TOP - kernel.user, &returns(3));
        let switch = sp(&good);
        let no_frame = Err(([].into(), Unreliable::NotTheBottom(switch)));
        let with = |addr, word| {
            let mut image = good.clone();
            image.set(addr, word);
            walk(&image)
        };
        assert_eq!(with(switch + kernel.switch_nip, function(4)), no_frame, "the block returns elsewhere");
        assert_eq!(with(switch + kernel.switch_frame + 16, function(4)), no_frame, "so does the frame");
        assert_eq!(with(switch, 0), no_frame);
        assert_eq!(with(switch, switch + kernel.switch_frame + FRAME), no_frame, "a frame is skipped");
        let at = |sp| {
            let mut image = good.clone();
            image.start = Start::SwitchedOut(Saved { sp, pc: 0, fp: 0 });
            walk(&image)
        };
        assert_eq!(at(switch + 8), Err(([].into(), Unreliable::Misaligned(switch + 8))));
        assert_eq!(at(TOP - 16), Err(([].into(), Unreliable::CouldNotReadStack(TOP - 16 + 304))));
        assert_eq!(at(TOP), Err(([].into(), Unreliable::CouldNotReadStack(TOP))));
        assert_eq!(at(0), Err(([].into(), Unreliable::CouldNotReadStack(0))));
    }
}

#[test]
fn a_chain_that_is_broken() {
    let good = asleep(NEW, TOP - NEW.user, &returns(4));
    // `__schedule`'s frame.
    let frame = sp(&good) + NEW.switch_frame + FRAME;
    let with = |word| {
        let mut image = good.clone();
        image.set(frame, word);
        let (frames, reason) = walk(&image).expect_err("broken");
        assert_eq!(frames, returns(2), "{word:#x}");
        reason
    };
    let bottom = good.bottom;
    assert_eq!(with(0), Unreliable::NotTheBottom(frame));
    assert_eq!(with(frame), Unreliable::DidNotAdvance(frame));
    assert_eq!(with(frame - FRAME), Unreliable::DidNotAdvance(frame - FRAME));
    assert_eq!(with(frame + FRAME + 8), Unreliable::Misaligned(frame + FRAME + 8));
    assert_eq!(with(bottom - 16), Unreliable::NotTheBottom(bottom - 16), "no room for a frame");
    assert_eq!(with(bottom + 16), Unreliable::NotTheBottom(bottom + 16));
    assert_eq!(with(TOP), Unreliable::NotTheBottom(TOP));
    assert_eq!(with(TOP + 0x1000), Unreliable::CouldNotReadStack(TOP + 0x1010));
    assert_eq!(with(STACK - 0x1000), Unreliable::CouldNotReadStack(STACK - 0x1000 + 16));
    assert_eq!(with(0x7fff_1234_5670), Unreliable::CouldNotReadStack(0x7fff_1234_5680));
    assert_eq!(with(!15), Unreliable::CouldNotReadStack(0), "no overflow");
}

#[test]
fn a_chain_that_ends_elsewhere() {
    // A frame like that at the bottom, in the middle.
    let mut image = asleep(NEW, TOP - 0x800, &returns(3));
    image.set(image.bottom, 0);
    image.bottom = TOP - NEW.user;
    let lowest = TOP - 0x800;
    let found = [function(0), function(1), function(2), FORK + 4];
    assert_eq!(walk(&image), Err((found.into(), Unreliable::NotTheBottom(lowest))));
    // User mode's stack pointer.
    image.set(lowest, 0x7fff_1234_5670);
    assert_eq!(walk(&image), Err((found.into(), Unreliable::CouldNotReadStack(0x7fff_1234_5680))));
}

#[test]
fn return_addresses_that_are_none() {
    let with = |pc| {
        let image = asleep(NEW, TOP - NEW.user, &[function(0), function(1), pc, function(3)]);
        let (frames, reason) = walk(&image).expect_err("no return address");
        assert_eq!(frames, returns(2), "{pc:#x}");
        reason
    };
    assert_eq!(with(0), Unreliable::NotText(0));
    assert_eq!(with(TEXT - 0x1000), Unreliable::NotText(TEXT - 0x1000));
    assert_eq!(with(function(2) + 4), Unreliable::NotAfterCall(function(2) + 4));
    assert_eq!(with(function(2) + 2), Unreliable::NotAfterCall(function(2) + 2));
    assert_eq!(with(BPF + 4), Unreliable::Unwalkable(BPF + 4));
}

/// A task asleep in a page fault: `handler` functions above the exception's frame, which interrupted the rest.
fn page_fault(kernel: Kernel, nip: Addr) -> (Image, Addr) {
    let mut image = asleep(kernel, TOP - kernel.user - 0x800, &returns(3));
    let exception = image.bottom;
    let interrupted = exception + kernel.exception;
    image.bottom = TOP - kernel.user;
    frames(
        &mut image,
        exception,
        &[(kernel.exception, function(5)), (FRAME, function(6))],
        TOP - kernel.user,
    );
    image.set(exception, interrupted);
    image.set(exception + kernel.marker, 0x5347_4552);
    image.set(exception + kernel.marker + 16 + 256, nip);
    (image, exception)
}

#[test]
fn an_exception_is_not_passed() {
    for kernel in [NEW, OLD] {
        // The caller may be in LR only, whatever nip is.
        let (mut image, exception) = page_fault(kernel, function(8));
        assert_eq!(walk(&image), Err((returns(3), Unreliable::Exception(function(8)))));
        // It interrupted code on a stack below or far above this one.
        for sp in [STACK + 0x100, exception + 0x1000, TOP + 0x10_0000, 0] {
            image.set(exception, sp);
            assert_eq!(walk(&image), Err((returns(3), Unreliable::Exception(function(8)))), "{sp:#x}");
        }
        // The block is cut off: the frame's address stands for it.
        image.stacks[0].size = exception - STACK + 200;
        assert_eq!(walk(&image), Err((returns(3), Unreliable::Exception(exception))));
    }
}

#[test]
fn an_exception_is_not_looked_for_where_a_marker_may_be_stale() {
    for kernel in [NEW, OLD] {
        let mut image = asleep(kernel, TOP - kernel.user, &returns(3));
        // `_switch` writes only some of its frame.
        image.set(sp(&image) + kernel.marker, 0x5347_4552);
        assert_eq!(walk(&image), Ok(returns(3)));
        // A frame that has no room for a register block, such as that of the first function: above it lies the marker
        // of entry code's frame, which in the other layout would be its own.
        for offset in [32, 96, 128 + 32, 128 + 96] {
            let mut image = image.clone();
            image.set(image.bottom - FRAME + offset, 0x5347_4552);
            assert_eq!(walk(&image), Ok(returns(3)), "at {offset}");
        }
        // Half a marker, an address that contains one.
        let (mut image, exception) = page_fault(kernel, function(8));
        let found: Vec<Addr> = [function(0), function(1), function(2), FORK + 4, function(5)].into();
        for word in [0, 0x5347_4552 << 32, 0xc000_0000_5347_4552] {
            image.set(exception + kernel.marker, word);
            assert_eq!(walk(&image), Ok(found.clone()), "{word:#x}");
        }
    }
}

/// A handler on the stack of hard interrupts, which interrupted a softirq on its stack, which was entered from the task.
fn on_three_stacks() -> Image {
    let mut image = asleep(NEW, TOP - NEW.user, &returns(3));
    let task_sp = TOP - NEW.user - 2 * FRAME;
    for start in [SOFTIRQ, HARDIRQ] {
        image.memory.insert(start, [0; SIZE].into());
    }
    image.stacks = [HARDIRQ, SOFTIRQ, STACK].map(|start| Range { start, size: SIZE as u64 }).into();
    // `call_do_softirq` and `call_do_irq` put the old stack pointer at the top of the new stack.
    frames(&mut image, HARDIRQ + 0x3f00, &[(FRAME, function(4)), (FRAME, function(5))], SOFTIRQ + 0x3f00);
    frames(&mut image, SOFTIRQ + 0x3f00, &[(FRAME, function(6)), (FRAME, function(7))], task_sp);
    image.start = Start::At(Cursor { pc: function(8), sp: HARDIRQ + 0x3f00, fp: 0, exact: false });
    image
}

#[test]
fn stacks_are_left_in_one_order() {
    let image = on_three_stacks();
    let found: Vec<Addr> = [8, 4, 5, 6, 7, 2].map(function).into();
    assert_eq!(walk(&image), Ok(found.clone()));
    // A softirq on the way out of a hard interrupt, whose stack is not in use any more.
    let mut soft = image.clone();
    soft.start = Start::At(Cursor { pc: function(8), sp: SOFTIRQ + 0x3f00, fp: 0, exact: false });
    assert_eq!(walk(&soft), Ok([8, 6, 7, 2].map(function).into()));
    // Back to where it came from, and to a stack that is none of the task's.
    let mut back = image.clone();
    back.set(SOFTIRQ + 0x3f00 + FRAME, HARDIRQ + 0x3f00);
    let (frames, reason) = walk(&back).expect_err("the wrong order");
    assert_eq!((frames, reason), (found[..4].into(), Unreliable::CouldNotReadStack(HARDIRQ + 0x3f10)));
    let mut other = image;
    other.stacks.remove(1);
    let (frames, reason) = walk(&other).expect_err("an unknown stack");
    assert_eq!((frames, reason), (found[..2].into(), Unreliable::CouldNotReadStack(SOFTIRQ + 0x3f10)));
}

#[test]
fn return_addresses_that_tracers_and_patches_keep() {
    let trampolines = [function(0), GRAPH, STUB_RETURN, PROBE, function(4), STUB_RETURN, function(6)];
    let mut image = asleep(NEW, TOP - NEW.user, &trampolines);
    image.kept = [[function(1)].into(), [function(3)].into(), [function(2), function(5)].into()];
    let found: Vec<Addr> = returns(7);
    assert_eq!(walk(&image), Ok(found));
    let frames = image.walk::<Ppc64>().expect("reliable");
    let kept: Vec<Found> = frames.iter().map(|frame| frame.found).collect();
    use Found::{Chain, Kept, Start};
    use ReturnTrampoline::{Graph, Patch, Probe};
    assert_eq!(kept, [Start, Kept(Graph), Kept(Patch), Kept(Probe), Chain, Kept(Patch), Chain]);

    // A patched function's return is traced: the stub found the tracer in LR. The other way round: the tracer found it.
    let mut image = asleep(NEW, TOP - NEW.user, &[function(0), STUB_RETURN, function(2)]);
    image.kept = [[function(1)].into(), [].into(), [GRAPH].into()];
    assert_eq!(walk(&image), Ok(returns(3)));
    let mut image = asleep(NEW, TOP - NEW.user, &[function(0), GRAPH, function(2)]);
    image.kept = [[STUB_RETURN].into(), [].into(), [function(1)].into()];
    assert_eq!(walk(&image), Ok(returns(3)));
}

#[test]
fn the_first_functions_return_address_is_kept() {
    // A thread's function, which entry code called, is traced.
    let mut image = asleep(NEW, TOP - NEW.kthread, &returns(3));
    image.set(image.bottom + 16, GRAPH);
    let lost = Unreliable::ReturnLost(ReturnTrampoline::Graph);
    assert_eq!(walk(&image), Err((returns(3), lost)));
    image.kept[ReturnTrampoline::Graph as usize] = [FORK + 4].into();
    let found = [function(0), function(1), function(2), FORK + 4];
    assert_eq!(walk(&image), Ok(found.into()));
    image.stacks[0].size = image.bottom + 16 - STACK;
    assert_eq!(walk(&image), Err((returns(3), Unreliable::CouldNotReadStack(image.bottom + 16))));
}

#[test]
fn return_addresses_that_are_lost_or_left() {
    let mut image = asleep(NEW, TOP - NEW.user, &[function(0), STUB_RETURN, function(2)]);
    let lost = Unreliable::ReturnLost(ReturnTrampoline::Patch);
    assert_eq!(walk(&image), Err((returns(1), lost)));
    // A call that never returned, or a return that was missed.
    image.kept[ReturnTrampoline::Patch as usize] = [function(1), function(5)].into();
    assert_eq!(walk(&image), Err((returns(3), Unreliable::ReturnLeft(ReturnTrampoline::Patch))));
}

#[test]
fn a_caller_in_a_register_is_not_missed() {
    let mut image = asleep(NEW, TOP - NEW.user, &returns(3));
    // At a function's first instruction the stack pointer is still its caller's.
    let (pc, sp) = (function(8) - 8, sp(&image) + NEW.switch_frame);
    image.start = Start::At(Cursor { pc, sp, fp: 0, exact: true });
    assert_eq!(walk(&image), Err(([pc].into(), Unreliable::CallerInRegister(pc))));
    // It is known to be a caller, so it has a frame.
    image.start = Start::At(Cursor { pc: function(8), sp, fp: 0, exact: false });
    assert_eq!(walk(&image), Ok([8, 1, 2].map(function).into()));
    // Called by entry code: nothing else is above it.
    image.start = Start::At(Cursor { pc, sp: image.bottom, fp: 0, exact: true });
    assert_eq!(walk(&image), Ok([pc].into()));
    image.start = Start::At(Cursor { pc: function(8), sp: sp + 8, fp: 0, exact: false });
    assert_eq!(walk(&image), Err(([function(8)].into(), Unreliable::Misaligned(sp + 8))));
    image.start = Start::At(Cursor { pc: 0, sp, fp: 0, exact: true });
    assert_eq!(walk(&image), Err(([].into(), Unreliable::NotText(0))));
}
