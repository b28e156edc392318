// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Every kind of entry in both formats, and what a walk makes of them.

extern crate std;
use std::vec;
use std::vec::Vec;

use klp_conformance::image::Image;
use klp_core::platform::Range;
use klp_core::unwind::{Remembered, ReturnTrampoline, Seen, Start, UnwindInfo};

use super::*;
use crate::unwind::testing::{
    BOTTOM, STACK, after_call, describe, function, image, registers, switch_out, walk,
};

const GRAPH: Code = Code::ReturnTrampoline(ReturnTrampoline::Graph);
const FORMATS: [TableFormat; 2] = [TableFormat::EndBit, TableFormat::SignalBit];
const KERNEL_CS: u64 = 0x10;
const USER_CS: u64 = 0x33;
/// Where function 0's frame starts in all tests.
const SP: Addr = STACK + 0x800;

/// An entry as objtool would write it; register blocks are signal frames.
fn entry(format: TableFormat, kind: Kind, [sp_reg, bp_reg]: [u16; 2], [sp, bp]: [i16; 2]) -> [u8; 6] {
    let kind = match (format, kind) {
        (TableFormat::EndBit, Kind::Undefined | Kind::Call) => 0,
        (TableFormat::EndBit, Kind::EndOfStack) => 4,
        (TableFormat::EndBit, Kind::Registers) => 1,
        (TableFormat::EndBit, Kind::Partial) => 2,
        (TableFormat::SignalBit, Kind::Undefined) => 0,
        (TableFormat::SignalBit, Kind::EndOfStack) => 1,
        (TableFormat::SignalBit, Kind::Call) => 2,
        (TableFormat::SignalBit, Kind::Registers) => 8 | 3,
        (TableFormat::SignalBit, Kind::Partial) => 8 | 4,
    };
    let flags = sp_reg | bp_reg << 4 | kind << 8;
    let [[s0, s1], [b0, b1], [f0, f1]] = [sp.to_le_bytes(), bp.to_le_bytes(), flags.to_le_bytes()];
    [s0, s1, b0, b1, f0, f1]
}

/// A function that has pushed so many bytes, its return address included.
fn call(format: TableFormat, size: i16) -> [u8; 6] {
    entry(format, Kind::Call, [reg::SP, reg::UNDEFINED], [size, 0])
}

/// Code without a caller.
fn end(format: TableFormat) -> [u8; 6] {
    entry(format, Kind::EndOfStack, [reg::UNDEFINED; 2], [0; 2])
}

/// Code with a register block at its stack pointer.
fn block(format: TableFormat) -> [u8; 6] {
    entry(format, Kind::Registers, [reg::SP, reg::UNDEFINED], [0; 2])
}

/// An image in which function 0 has this entry, 1 to 3 have 32 bytes of frame each, 8 starts a stack and 9 has a
/// register block.
fn machine(format: TableFormat, zero: [u8; 6]) -> Image {
    let mut image = image(SP);
    let usual = call(format, 32);
    let entries = [(0, zero), (1, usual), (2, usual), (3, usual), (8, end(format)), (9, block(format))];
    describe(&mut image, format, &entries);
    image
}

/// One step of function 0, as an interrupt found it.
fn step_from(image: &Image, bp: u64) -> Result<Step, Unreliable> {
    let UnwindInfo::Tables(format) = image.unwind_info else { panic!("no tables") };
    let cursor = Cursor { pc: function(0) + 4, sp: SP, fp: bp, exact: true };
    step(format, &cursor, BOTTOM, image)
}

fn caller(pc: Addr, sp: Addr, fp: u64) -> Result<Step, Unreliable> {
    Ok(Step::Caller(Cursor { pc, sp, fp, exact: false }))
}

#[test]
fn entries_of_real_kernels() {
    // From Debian's 6.1.0-56 and 6.12.117+deb12: format, bytes, type, registers, offsets, signal.
    use Kind::{Call, EndOfStack, Partial, Registers, Undefined};
    use TableFormat::{EndBit, SignalBit};
    for (format, bytes, kind, registers, offsets, signal) in [
        (EndBit, [0, 0, 0, 0, 0, 4], EndOfStack, [0, 0], [0, 0], true),
        (EndBit, [0, 0, 0, 0, 0, 0], Undefined, [0, 0], [0, 0], true),
        (EndBit, [8, 0, 0, 0, 5, 0], Call, [reg::SP, 0], [8, 0], true),
        (EndBit, [8, 0, 0, 0, 5, 2], Partial, [reg::SP, 0], [8, 0], true),
        (EndBit, [0, 0, 0, 0, 5, 1], Registers, [reg::SP, 0], [0, 0], true),
        (EndBit, [0x28, 0, 0xd8, 0xff, 0x15, 0], Call, [reg::SP, reg::PREV_SP], [40, -40], true),
        (EndBit, [0xe8, 0xff, 0, 0, 0x48, 0], Call, [reg::BP_INDIRECT, reg::BP], [-24, 0], true),
        (EndBit, [8, 0, 0, 0, 2, 2], Partial, [reg::DX, 0], [8, 0], true),
        (SignalBit, [0, 0, 0, 0, 0, 1], EndOfStack, [0, 0], [0, 0], false),
        (SignalBit, [0, 0, 0, 0, 0, 0], Undefined, [0, 0], [0, 0], false),
        (SignalBit, [8, 0, 0, 0, 5, 2], Call, [reg::SP, 0], [8, 0], false),
        (SignalBit, [0, 0, 0, 0, 5, 0xb], Registers, [reg::SP, 0], [0, 0], true),
        (SignalBit, [8, 0, 0, 0, 5, 0xc], Partial, [reg::SP, 0], [8, 0], true),
        (SignalBit, [0, 0, 0, 0, 5, 4], Partial, [reg::SP, 0], [0, 0], false),
        (
            SignalBit,
            [0x88, 0, 0xd0, 0xff, 0x19, 2],
            Call,
            [reg::SP_INDIRECT, reg::PREV_SP],
            [136, -48],
            false,
        ),
        (SignalBit, [0, 0, 0, 0, 0x47, 2], Call, [reg::R13, reg::BP], [0, 0], false),
    ] {
        let image = machine(format, bytes);
        let entry = Entry::find(format, function(0), &image).expect("an entry");
        assert_eq!(entry.kind(), kind, "{format:?} {bytes:x?}");
        assert_eq!([entry.sp_reg(), entry.bp_reg()], registers, "{format:?} {bytes:x?}");
        assert_eq!([entry.sp_offset, entry.bp_offset], offsets, "{format:?} {bytes:x?}");
        assert_eq!(entry.is_signal(), signal, "{format:?} {bytes:x?}");
    }
}

#[test]
fn every_register_leads_to_the_caller() {
    const BP: Addr = SP + 0x100;
    for format in FORMATS {
        let stepped = |registers, offsets, words: &[(Addr, u64)]| {
            let mut image = machine(format, entry(format, Kind::Call, registers, offsets));
            for &(addr, word) in words {
                image.set(addr, word);
            }
            step_from(&image, BP)
        };
        assert_eq!(
            stepped([reg::SP, reg::UNDEFINED], [24, 0], &[(SP + 16, 0xf1)]),
            caller(0xf1, SP + 24, BP)
        );
        assert_eq!(
            stepped([reg::SP, reg::PREV_SP], [48, -40], &[(SP + 40, 0xf2), (SP + 8, 0xb2)]),
            caller(0xf2, SP + 48, 0xb2)
        );
        assert_eq!(
            stepped([reg::BP, reg::PREV_SP], [16, -16], &[(BP + 8, 0xf3), (BP, 0xb3)]),
            caller(0xf3, BP + 16, 0xb3)
        );
        assert_eq!(
            stepped(
                [reg::BP_INDIRECT, reg::BP],
                [-24, 0],
                &[(BP - 24, BP + 32), (BP + 24, 0xf4), (BP, 0xb4)]
            ),
            caller(0xf4, BP + 32, 0xb4)
        );
        assert_eq!(
            stepped([reg::SP_INDIRECT, reg::UNDEFINED], [16, 0], &[(SP, BP), (BP + 8, 0xf5)]),
            caller(0xf5, BP + 16, BP)
        );
    }
}

#[test]
fn the_short_way_leads_where_the_long_one_does() {
    const BP: Addr = SP + 0x100;
    for format in FORMATS {
        // All registers, types and marks.
        let ways = (0..=u16::from(u8::MAX) << 4 | 0xf).filter(|flags| {
            let [f0, f1] = flags.to_le_bytes();
            let mut image = machine(format, [16, 0, 0xf0, 0xff, f0, f1]);
            image.set(SP + 8, after_call(1));
            image.set(BP + 8, after_call(2));
            let seen = Seen::new();
            let machine = Remembered { machine: &image, seen: &seen };
            let cursor = Cursor { pc: after_call(0), sp: SP, fp: BP, exact: false };
            let short = |cursor| super::caller(format, cursor, &machine);
            assert_eq!(short(&cursor), None, "nothing is known yet");
            let long = step(format, &cursor, BOTTOM, &machine);
            let way = short(&cursor);
            assert!(way.is_none_or(|caller| long == Ok(Step::Caller(caller))), "{format:?} {flags:#x}");
            assert_eq!(
                short(&Cursor { pc: cursor.in_function(), exact: true, ..cursor }),
                None,
                "interrupted"
            );
            way.is_some()
        });
        // Through rsp or rbp, with rbp saved or not; two more bits say nothing there, or one.
        assert_eq!(ways.count(), 4 * if format == TableFormat::EndBit { 4 } else { 2 }, "{format:?}");
    }
}

#[test]
fn what_is_in_other_registers_is_not_known() {
    for format in FORMATS {
        for sp_reg in [reg::R10, reg::R13, reg::DI, reg::DX] {
            let mut image = machine(format, entry(format, Kind::Call, [sp_reg, reg::UNDEFINED], [8, 0]));
            image.set(SP, after_call(1));
            assert_eq!(step_from(&image, 0), Err(Unreliable::CallerInRegister(function(0) + 4)));
            let reason = Unreliable::NoUnwindInfo(after_call(0));
            assert_eq!(walk(&image), (vec![after_call(0)], Some(reason)), "at a call it cannot be");
        }
        for registers in
            [[reg::PREV_SP, 0], [10, 0], [15, 0], [reg::SP, reg::SP], [reg::SP, 9], [reg::SP, 15]]
        {
            let mut image = machine(format, entry(format, Kind::Call, registers, [8, 0]));
            image.set(SP, after_call(1));
            assert_eq!(step_from(&image, 0), Err(Unreliable::NoUnwindInfo(function(0) + 4)), "{registers:?}");
        }
    }
}

#[test]
fn code_that_is_not_described_ends_the_walk() {
    for format in FORMATS {
        let no_info = |pc| (vec![after_call(0)], Some(Unreliable::NoUnwindInfo(pc)));
        let undefined = entry(format, Kind::Undefined, [0; 2], [0; 2]);
        assert_eq!(walk(&machine(format, undefined)), no_info(after_call(0)));
        let unknown_type = match format {
            TableFormat::EndBit => [8, 0, 0, 0, 5, 3],
            TableFormat::SignalBit => [8, 0, 0, 0, 5, 7],
        };
        assert_eq!(walk(&machine(format, unknown_type)), no_info(after_call(0)));

        let mut image = machine(format, call(format, 8));
        describe(&mut image, format, &[(1, call(format, 8))]);
        assert_eq!(walk(&image), no_info(after_call(0)), "before the table's first entry");
        describe(&mut image, format, &[]);
        assert_eq!(walk(&image), no_info(after_call(0)), "no table");
    }
}

/// Function 0 called by 1, that by 2, and 2 by `entry` at the stack pointer `sp`.
fn chain(format: TableFormat, entry: u64, sp: Addr) -> Image {
    let base = sp - 72;
    let mut image = machine(format, call(format, 8));
    switch_out(&mut image, base, after_call(0), 0);
    image.set(base, after_call(1));
    image.set(base + 32, after_call(2));
    image.set(base + 64, after_call(entry));
    image
}

fn three(last: Addr) -> Vec<Addr> {
    vec![after_call(0), after_call(1), after_call(2), last]
}

#[test]
fn user_tasks_end_at_their_register_block() {
    for format in FORMATS {
        let mut image = chain(format, 9, BOTTOM);
        registers(&mut image, BOTTOM, [0xb, 0x40_1000, USER_CS, 0x7fff_0000]);
        assert_eq!(walk(&image), (three(after_call(9)), None));

        let mut image = chain(format, 9, BOTTOM - 0x100);
        registers(&mut image, BOTTOM - 0x100, [0xb, 0x40_1000, USER_CS, 0x7fff_0000]);
        assert_eq!(walk(&image), (three(after_call(9)), Some(Unreliable::NotTheBottom(BOTTOM - 0x100))));
    }
}

#[test]
fn kernel_threads_end_where_they_were_forked() {
    for format in FORMATS {
        assert_eq!(walk(&chain(format, 8, BOTTOM)), (three(after_call(8)), None));
        for sp in [BOTTOM - 8, BOTTOM + 8, BOTTOM + 168] {
            let reason = Unreliable::NotTheBottom(sp);
            assert_eq!(walk(&chain(format, 8, sp)), (three(after_call(8)), Some(reason)));
        }
    }
}

#[test]
fn a_task_that_never_ran_is_at_the_bottom() {
    for format in FORMATS {
        let mut image = machine(format, call(format, 8));
        switch_out(&mut image, BOTTOM, function(8), 0);
        assert_eq!(walk(&image), (vec![function(8)], None));
        switch_out(&mut image, BOTTOM - 32, function(8), 0);
        let reason = match format {
            TableFormat::EndBit => Unreliable::NoUnwindInfo(function(8)),
            TableFormat::SignalBit => Unreliable::NotTheBottom(BOTTOM - 32),
        };
        assert_eq!(walk(&image), (vec![function(8)], Some(reason)));
        switch_out(&mut image, BOTTOM, function(1), 0);
        assert_eq!(walk(&image), (vec![], Some(Unreliable::NotAfterCall(function(1)))), "code with a caller");
    }
}

#[test]
fn interrupted_code_is_walked_on_from() {
    const AT: Addr = STACK + 0x1000;
    for format in FORMATS {
        // 0 called by entry code, which interrupted the first instruction of 1, called by 2, called by entry code.
        let mut image = machine(format, call(format, 8));
        image.set(SP, after_call(9));
        let first = call(format, 8);
        let bp = entry(format, Kind::Call, [reg::BP, reg::PREV_SP], [16, -16]);
        let entries = [(0, call(format, 8)), (1, first), (2, bp), (9, block(format))];
        describe(&mut image, format, &entries);
        registers(&mut image, SP + 8, [BOTTOM - 16, function(1), KERNEL_CS, AT]);
        image.set(AT, after_call(2));
        image.set(BOTTOM - 8, after_call(9));
        registers(&mut image, BOTTOM, [0, 0x40_1000, USER_CS, 0x7fff_0000]);
        let frames = vec![after_call(0), after_call(9), function(1), after_call(2), after_call(9)];
        assert_eq!(walk(&image), (frames.clone(), None));

        // The stack pointer of what was interrupted must be above.
        registers(&mut image, SP + 8, [BOTTOM - 16, function(1), KERNEL_CS, SP + 8]);
        assert_eq!(walk(&image), (frames[..2].to_vec(), Some(Unreliable::DidNotAdvance(SP + 8))));
    }
}

#[test]
fn partial_blocks_leave_rbp_as_it_is() {
    for format in FORMATS {
        let partial = entry(format, Kind::Partial, [reg::SP, reg::UNDEFINED], [8, 0]);
        let mut image = machine(format, partial);
        registers(&mut image, SP + 8 - 128, [0xbad, function(1) + 3, KERNEL_CS, SP + 0x100]);
        let interrupted = Cursor { pc: function(1) + 3, sp: SP + 0x100, fp: 0xb, exact: true };
        assert_eq!(step_from(&image, 0xb), Ok(Step::Interrupted(interrupted)));
        registers(&mut image, SP + 8 - 128, [0xbad, 0x40_1000, USER_CS, 0x7fff_0000]);
        assert_eq!(step_from(&image, 0xb), Err(Unreliable::NotTheBottom(SP)));

        let sp = BOTTOM + 128 - 8;
        registers(&mut image, BOTTOM, [0xbad, 0x40_1000, USER_CS, 0x7fff_0000]);
        let cursor = Cursor { pc: function(0), sp, fp: 0, exact: true };
        assert_eq!(step(format, &cursor, BOTTOM, &image), Ok(Step::Bottom));
    }
}

/// Function 1 was interrupted at its first instruction, and has this word on top of its stack.
fn interrupted_below(format: TableFormat, top: u64) -> Image {
    let mut image = machine(format, block(format));
    let usual = call(format, 8);
    describe(&mut image, format, &[(0, block(format)), (1, usual), (3, call(format, 32)), (8, end(format))]);
    registers(&mut image, SP, [0, function(1), KERNEL_CS, BOTTOM - 16]);
    image.set(BOTTOM - 16, top);
    image.set(BOTTOM - 8, after_call(8));
    image
}

#[test]
fn a_return_that_jumps_is_no_call() {
    for format in FORMATS {
        let image = interrupted_below(format, after_call(2));
        let frames = vec![after_call(0), function(1), after_call(2), after_call(8)];
        assert_eq!(walk(&image), (frames, None));

        let exception = (vec![after_call(0), function(1)], Some(Unreliable::Exception(function(1))));
        assert_eq!(walk(&interrupted_below(format, function(3))), exception);
        let mut image = interrupted_below(format, function(3));
        image.text.values_mut().for_each(|text| text[3 * 64 - 5] = 0xe8);
        assert_eq!(walk(&image), exception, "its predecessor ends with a call");

        let mut image = interrupted_below(format, 0x1234);
        let not_text = (vec![after_call(0), function(1)], Some(Unreliable::NotText(0x1234)));
        assert_eq!(walk(&image), not_text);
        image.set(BOTTOM - 16, function(3) + 7);
        image.code.insert(0, (Range { start: function(3) + 7, size: 1 }, GRAPH));
        image.kept[0].push(after_call(2));
        let frames = vec![after_call(0), function(1), after_call(2), after_call(8)];
        assert_eq!(walk(&image), (frames, None), "a tracer's trampoline follows no call");
    }
}

#[test]
fn the_end_bit_on_interrupted_code_is_no_end() {
    for (format, reason) in [
        (TableFormat::EndBit, Unreliable::NoUnwindInfo(function(0) + 4)),
        (TableFormat::SignalBit, Unreliable::NotTheBottom(SP)),
    ] {
        assert_eq!(step_from(&machine(format, end(format)), 0), Err(reason));
    }
}

#[test]
fn behind_a_breakpoint_is_not_where_it_was_interrupted() {
    let no_signal = [0, 0, 0, 0, 5, 4];
    let mut image = machine(TableFormat::SignalBit, no_signal);
    registers(&mut image, SP - 128, [0, function(1) + 3, KERNEL_CS, SP + 0x100]);
    assert_eq!(step_from(&image, 0), Err(Unreliable::Exception(function(1) + 3)));
}

#[test]
fn stacks_that_cannot_be_read_or_are_broken() {
    for format in FORMATS {
        let beyond = STACK + 0x4000;
        let walked = |registers, offsets, bp, word| {
            let mut image = machine(format, entry(format, Kind::Call, registers, offsets));
            switch_out(&mut image, SP, after_call(0), bp);
            image.set(SP, word);
            walk(&image)
        };
        let at_once = |reason| (vec![after_call(0)], Some(reason));
        assert_eq!(
            walked([reg::BP, 0], [16, 0], beyond, 0),
            at_once(Unreliable::CouldNotReadStack(beyond + 8))
        );
        assert_eq!(walked([reg::BP, 0], [16, 0], SP + 4, 0), at_once(Unreliable::Misaligned(SP + 12)));
        assert_eq!(
            walked([reg::BP_INDIRECT, 0], [0, 0], u64::MAX - 7, 0),
            at_once(Unreliable::CouldNotReadStack(u64::MAX - 7))
        );
        assert_eq!(walked([reg::SP, 0], [0, 0], 0, 0), at_once(Unreliable::DidNotAdvance(SP)));
        assert_eq!(
            walked([reg::SP, reg::BP], [8, 0], 0, after_call(1)),
            at_once(Unreliable::CouldNotReadStack(0)),
            "a frame pointer that cannot be read"
        );
        assert_eq!(walked([reg::SP, 0], [8, 0], 0, 0x1234), at_once(Unreliable::NotText(0x1234)));

        let mut image = machine(format, block(format));
        switch_out(&mut image, beyond, after_call(0), 0);
        assert_eq!(walk(&image), at_once(Unreliable::CouldNotReadStack(beyond + 136)));
    }
}

#[test]
fn a_return_address_behind_a_function_belongs_to_the_call() {
    for format in FORMATS {
        // The call is the last instruction of function 0; what follows has another frame.
        let mut image = machine(format, call(format, 8));
        describe(&mut image, format, &[(0, call(format, 8)), (1, call(format, 64)), (8, end(format))]);
        image.text.values_mut().for_each(|text| text[64 - 5] = 0xe8);
        switch_out(&mut image, BOTTOM - 8, function(1), 0);
        image.set(BOTTOM - 8, after_call(8));
        assert_eq!(walk(&image), (vec![function(1), after_call(8)], None));
    }
}

#[test]
fn generated_code_is_not_described() {
    for format in FORMATS {
        const PROGRAM: Addr = 0xffff_ffff_c012_0000;
        let mut image = machine(format, call(format, 8));
        image.add_text(PROGRAM, &[0x90; 64], Code::Generated);
        image.set(SP, PROGRAM + 32);
        assert_eq!(walk(&image), (vec![after_call(0)], Some(Unreliable::Unwalkable(PROGRAM + 32))));
    }
}

#[test]
fn a_walk_may_start_in_interrupted_code() {
    for format in FORMATS {
        let mut image = machine(format, call(format, 8));
        image.start = Start::At(Cursor { pc: function(0), sp: BOTTOM - 8, fp: 0, exact: true });
        image.set(BOTTOM - 8, after_call(8));
        assert_eq!(walk(&image), (vec![function(0), after_call(8)], None));
    }
}
