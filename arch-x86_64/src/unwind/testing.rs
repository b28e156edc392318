// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A machine for tests: a task's stack of the usual size, functions that call each other, a table that describes them.

extern crate std;
use std::vec;
use std::vec::Vec;

use klp_conformance::image::{Image, Table};
use klp_core::unwind::{Code, Frame, Saved, Start, TableFormat, Unreliable, UnwindInfo};
use klp_core::{Addr, Endian};

use crate::X86_64;

pub(super) const STACK: Addr = 0xffff_c900_0001_0000;
/// Where the register block at the top starts, `sizeof(struct pt_regs)` bytes below the end.
pub(super) const BOTTOM: Addr = STACK + 0x4000 - 168;

const FUNCTIONS: Addr = 0xffff_ffff_8110_0000;
const FUNCTION_SIZE: usize = 64;
const FUNCTION_COUNT: usize = 16;
const CALL_AT: usize = 16;
const TABLE: Addr = 0xffff_ffff_8200_0000;

/// Where function `n` begins.
pub(super) const fn function(n: u64) -> Addr {
    FUNCTIONS + n * FUNCTION_SIZE as u64
}

/// The return address of a call in function `n`.
pub(super) const fn after_call(n: u64) -> Addr {
    function(n) + CALL_AT as u64 + 5
}

/// An image of a task that is switched out in function 0, with an empty stack frame at `sp`.
pub(super) fn image(sp: Addr) -> Image {
    let mut image = Image::new(Endian::Little, STACK, 0x4000);
    let mut text = vec![0x90; FUNCTION_COUNT * FUNCTION_SIZE];
    for function in text.chunks_mut(FUNCTION_SIZE) {
        function[CALL_AT] = 0xe8;
    }
    image.add_text(FUNCTIONS, &text, Code::Function);
    image.bottom = BOTTOM;
    switch_out(&mut image, sp, after_call(0), 0);
    image
}

/// Lets the context switch have returned to `pc`, with this stack pointer and rbp.
pub(super) fn switch_out(image: &mut Image, sp: Addr, pc: Addr, bp: u64) {
    image.start = Start::SwitchedOut(Saved { sp: sp - 56, pc: 0, fp: 0 });
    image.set(sp - 16, bp);
    image.set(sp - 8, pc);
}

/// Describes whole functions.
pub(super) fn describe(image: &mut Image, format: TableFormat, entries: &[(u64, [u8; 6])]) {
    image.unwind_info = UnwindInfo::Tables(format);
    image.table = Table::new(TABLE, entries.iter().map(|&(n, entry)| (function(n), entry)).collect());
}

/// Writes a register block: rbp, rip, cs and rsp.
pub(super) fn registers(image: &mut Image, at: Addr, [bp, pc, cs, sp]: [u64; 4]) {
    for (offset, value) in [(32, bp), (128, pc), (136, cs), (152, sp)] {
        image.set(at + offset, value);
    }
}

/// The program counters that a walk reports, and how it ends.
pub(super) fn walk(image: &Image) -> (Vec<Addr>, Option<Unreliable>) {
    let pcs = |frames: Vec<Frame>| frames.iter().map(|frame| frame.cursor.pc).collect();
    match image.walk::<X86_64>() {
        Ok(frames) => (pcs(frames), None),
        Err((frames, reason)) => (pcs(frames), Some(reason)),
    }
}
