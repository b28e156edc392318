// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Frame records of arm64 (AAPCS64, "The Frame Pointer").
//!
//! ```text
//! caller.fp = [fp]
//! caller.pc = [fp+8]   may be signed
//! caller.sp ≥ fp+16    where in its frame a function puts its record is up to the compiler
//! ```
//!
//! Entry code makes a record too, inside the register block it saves (`arch/arm64/kernel/entry.S`, `kernel_entry`):
//! zeros when it came from user mode, which ends the chain; else frame pointer and program counter of the code it
//! interrupted, whose own return address may be in x30 alone. Nothing in the record tells which of the two it is, so the
//! block around it is looked at.

use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, Unwind};
use klp_core::{Addr, Architecture};

use crate::Arm64;

/// `struct pt_regs` as seen from the frame record in it, bytes (`arch/arm64/include/asm/ptrace.h`; the record is at 304).
mod pt_regs {
    /// Below the record: x29.
    pub(super) const FP: u64 = 304 - 232;
    /// Below the record: sp.
    pub(super) const SP: u64 = 304 - 248;
    /// Below the record: pc.
    pub(super) const PC: u64 = 304 - 256;
    /// Above the record: the end of the block.
    pub(super) const END: u64 = 336 - 304;
}

/// Whether the record {`fp`, `lr`} at `record` is that of an exception taken in the kernel: it repeats two registers
/// of the block it lies in, and that block lies directly below the interrupted stack pointer.
fn is_exception(record: Addr, fp: u64, lr: u64, machine: &impl Machine) -> bool {
    let holds = |below: u64, value: u64| machine.word(record.wrapping_sub(below)) == Some(value);
    holds(pt_regs::FP, fp) && holds(pt_regs::PC, lr) && holds(pt_regs::SP, record.wrapping_add(pt_regs::END))
}

impl Unwind for Arm64 {
    /// The stack pointer's (AAPCS64, "Universal stack constraints"); compilers keep records aligned like it.
    const FRAME_ALIGN: u64 = 16;

    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let _ = machine;
        Ok(Cursor { pc: saved.pc, sp: saved.sp, fp: saved.fp, exact: true })
    }

    /// `bottom` is the address of the register block at the high end of the task's stack, which every task has
    /// (`task_pt_regs`); the words of that block can be read. `cursor.sp` is a lower bound.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let read = |addr: Addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));

        let record = cursor.fp;
        if !record.is_multiple_of(Self::FRAME_ALIGN) {
            return Err(Unreliable::Misaligned(record));
        }
        if record < cursor.sp {
            return Err(Unreliable::DidNotAdvance(record));
        }
        let fp = read(record)?;
        let lr = read(record.wrapping_add(8))?;
        match (fp, lr) {
            (0, 0) if record >= bottom => Ok(Step::Bottom),
            // Zeros below the bottom: newer kernels say in a third word what such a record means, an exception.
            (0, 0) => Err(Unreliable::Exception(record)),
            _ if record >= bottom || is_exception(record, fp, lr, machine) => Err(Unreliable::Exception(lr)),
            _ => {
                let pc = Self::strip_return_address(lr);
                Ok(Step::Caller(Cursor { pc, sp: record + 16, fp, exact: false }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: Addr = 0xffff_8000_0a00_0000;
    const WORDS: usize = 192;
    /// The block at the high end: 336 bytes.
    const BOTTOM: Addr = STACK + 8 * WORDS as u64 - 336;
    const FINAL: u64 = BOTTOM - STACK + 304;
    const TEXT: u64 = 0xffff_8000_0800_1000;

    /// Records at +0x20, +0x60 and, ending the chain, in the block.
    fn stack() -> [u64; WORDS] {
        let mut words = [0; WORDS];
        set(&mut words, 0x20, [STACK + 0x60, TEXT]);
        set(&mut words, 0x60, [STACK + FINAL, TEXT + 0x100]);
        words
    }

    fn set(words: &mut [u64; WORDS], offset: u64, record: [u64; 2]) {
        let at = usize::try_from(offset).expect("small") / 8;
        words[at..at + 2].copy_from_slice(&record);
    }

    fn step_from(words: &[u64; WORDS], sp: u64, fp: u64) -> Result<Step, Unreliable> {
        let cursor = Cursor { pc: TEXT, sp: STACK + sp, fp: STACK + fp };
        let memory = |addr: Addr| {
            usize::try_from(addr.checked_sub(STACK)? / 8).ok().and_then(|i| words.get(i).copied())
        };
        Arm64::step(&cursor, BOTTOM, &memory)
    }

    fn step(words: &[u64; WORDS], fp: u64) -> Result<Step, Unreliable> {
        step_from(words, fp, fp)
    }

    #[test]
    fn records_lead_to_the_bottom() {
        let words = stack();
        let frame = |pc, sp, fp| Ok(Step::Frame(Cursor { pc, sp: STACK + sp, fp: STACK + fp }));
        assert_eq!(step_from(&words, 0, 0x20), frame(TEXT, 0x30, 0x60));
        assert_eq!(step_from(&words, 0x30, 0x60), frame(TEXT + 0x100, 0x70, FINAL));
        assert_eq!(step_from(&words, 0x70, FINAL), Ok(Step::Bottom));
    }

    #[test]
    fn a_signed_return_address_is_stripped() {
        let mut words = stack();
        set(&mut words, 0x20, [STACK + 0x60, TEXT & !(0x7f << 48) | 0x2a << 48]);
        assert!(matches!(step(&words, 0x20), Ok(Step::Frame(Cursor { pc: TEXT, .. }))));
    }

    #[test]
    fn a_broken_chain_is_unreliable() {
        let words = stack();
        assert_eq!(step_from(&words, 0x30, 0x20), Err(Unreliable::DidNotAdvance(STACK + 0x20)));
        assert_eq!(step(&words, 0x28), Err(Unreliable::Misaligned(STACK + 0x28)));
        let beyond = 8 * WORDS as u64;
        assert_eq!(step(&words, beyond), Err(Unreliable::CouldNotReadStack(STACK + beyond)));
        let null = Cursor { pc: TEXT, sp: 0, fp: 0 };
        let nothing = |_: Addr| None;
        assert_eq!(Arm64::step(&null, BOTTOM, &nothing), Err(Unreliable::CouldNotReadStack(0)));
    }

    #[test]
    fn an_exception_is_told_by_the_block_around_its_record() {
        // Entry code's block at +0x100, its end and so the interrupted stack pointer at +0x250.
        let (block, record) = (0x100, 0x100 + 304);
        let interrupted = TEXT + 0x204;
        let mut words = stack();
        set(&mut words, record, [STACK + 0x300, interrupted]);
        assert!(matches!(step(&words, record), Ok(Step::Frame(_))), "a record among other words");
        set(&mut words, block + 248, [STACK + block + 336, interrupted]);
        set(&mut words, block + 232, [STACK + 0x300, 0]);
        assert_eq!(step(&words, record), Err(Unreliable::Exception(interrupted)));
        set(&mut words, block + 248, [STACK + block + 352, interrupted]);
        assert!(matches!(step(&words, record), Ok(Step::Frame(_))), "the ftrace trampoline's block");
    }

    #[test]
    fn the_chain_ends_with_zeros_in_the_last_block_and_nowhere_else() {
        let mut words = stack();
        set(&mut words, 0x60, [0, 0]);
        assert_eq!(step(&words, 0x60), Err(Unreliable::Exception(STACK + 0x60)));
        set(&mut words, FINAL, [0, TEXT]);
        assert_eq!(step(&words, FINAL), Err(Unreliable::Exception(TEXT)));
        set(&mut words, 0x60, [0, TEXT]);
        let Ok(Step::Frame(cursor)) = step(&words, 0x60) else { panic!("a record") };
        let memory = |_: Addr| Some(0);
        assert_eq!(Arm64::step(&cursor, BOTTOM, &memory), Err(Unreliable::DidNotAdvance(0)));
    }
}
