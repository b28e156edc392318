// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames as objtool's tables describe them (`Documentation/arch/x86/orc-unwinder.rst`; `asm/orc_types.h`).
//!
//! An entry says, for a range of code, where the caller's frame begins (`sp_reg`, `sp_offset`), what lies there (`type`) and
//! where rbp was saved (`bp_reg`, `bp_offset`). Both formats are six bytes, little endian:
//!
//! | bits | [`EndBit`](TableFormat::EndBit) | [`SignalBit`](TableFormat::SignalBit) |
//! |---|---|---|
//! | 0 to 15 | `sp_offset` | same |
//! | 16 to 31 | `bp_offset` | same |
//! | 32 to 35 | `sp_reg` | same |
//! | 36 to 39 | `bp_reg` | same |
//! | 40, 41 | `type`: 0 call, 1 registers, 2 partial | 40 to 42, `type`: 0 undefined, 1 end of stack, 2 call, 3 registers, 4 partial |
//! | 42 | `end`, where `sp_reg` is 0; else undefined | |
//! | 43 | | `signal` |
//!
//! Tables are exact at each instruction, so unlike frame pointers they lead on through interrupted code, and the kernel's
//! reliable walk goes there too (`arch/x86/kernel/stacktrace.c`).

use klp_core::unwind::{Code, Cursor, Machine, Step, TableFormat, Unreliable, UnwindTable};
use klp_core::{Addr, FarBranch};

use super::registers::{IP, Registers};
use super::word;
use crate::X86_64;

/// Values of `sp_reg` and `bp_reg`: `ORC_REG_*`.
mod reg {
    pub(super) const UNDEFINED: u16 = 0;
    pub(super) const PREV_SP: u16 = 1;
    pub(super) const DX: u16 = 2;
    pub(super) const DI: u16 = 3;
    pub(super) const BP: u16 = 4;
    pub(super) const SP: u16 = 5;
    pub(super) const R10: u16 = 6;
    pub(super) const R13: u16 = 7;
    pub(super) const BP_INDIRECT: u16 = 8;
    pub(super) const SP_INDIRECT: u16 = 9;
}

/// What lies where an entry's `sp_reg` and `sp_offset` lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// objtool could not tell, or was told not to.
    Undefined,
    /// Nothing: the code was not called.
    EndOfStack,
    /// The caller's frame, right below it the return address.
    Call,
    /// A register block.
    Registers,
    /// The part of one that the processor pushed.
    Partial,
}

/// An entry, decoded as far as every walk needs it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    sp_offset: i16,
    bp_offset: i16,
    flags: u16,
    format: TableFormat,
}

impl Entry {
    /// The entry for the code at `pc`.
    fn find(format: TableFormat, pc: Addr, machine: &impl Machine) -> Option<Entry> {
        Some(Entry::read(format, machine.unwind_entry(pc)?))
    }

    #[inline]
    const fn read(format: TableFormat, [s0, s1, b0, b1, f0, f1]: [u8; UnwindTable::ENTRY_SIZE]) -> Entry {
        Entry {
            sp_offset: i16::from_le_bytes([s0, s1]),
            bp_offset: i16::from_le_bytes([b0, b1]),
            flags: u16::from_le_bytes([f0, f1]),
            format,
        }
    }

    const fn sp_reg(self) -> u16 {
        self.flags & 0xf
    }

    const fn bp_reg(self) -> u16 {
        self.flags >> 4 & 0xf
    }

    const fn kind(self) -> Kind {
        match self.format {
            TableFormat::EndBit if self.sp_reg() == reg::UNDEFINED => {
                if self.flags & 1 << 10 != 0 {
                    Kind::EndOfStack
                } else {
                    Kind::Undefined
                }
            }
            TableFormat::EndBit => match self.flags >> 8 & 3 {
                0 => Kind::Call,
                1 => Kind::Registers,
                2 => Kind::Partial,
                _ => Kind::Undefined,
            },
            TableFormat::SignalBit => match self.flags >> 8 & 7 {
                1 => Kind::EndOfStack,
                2 => Kind::Call,
                3 => Kind::Registers,
                4 => Kind::Partial,
                _ => Kind::Undefined,
            },
        }
    }

    /// Whether the program counter found through a register block is that of an instruction which was not executed yet.
    /// Behind a breakpoint it is not: that trap reports the instruction after it.
    const fn is_signal(self) -> bool {
        match self.format {
            TableFormat::EndBit => true,
            TableFormat::SignalBit => self.flags & 1 << 11 != 0,
        }
    }
}

/// Whether a stack starts with the code at `pc`.
pub(super) fn starts_stack(format: TableFormat, pc: Addr, machine: &impl Machine) -> bool {
    Entry::find(format, pc, machine).is_some_and(|entry| entry.kind() == Kind::EndOfStack)
}

/// [`step`] of a function that was called and calls, and has rbp in its frame or leaves it alone.
#[inline(always)]
pub(super) fn caller(format: TableFormat, cursor: &Cursor, machine: &impl Machine) -> Option<Cursor> {
    if cursor.exact {
        return None;
    }
    let entry = Entry::read(format, machine.known_entry(cursor.in_function())?);
    let base = match entry.sp_reg() {
        _ if entry.kind() != Kind::Call => return None,
        reg::SP => cursor.sp,
        reg::BP => cursor.fp,
        _ => return None,
    };
    let sp = base.wrapping_add_signed(i64::from(entry.sp_offset));
    let fp = match entry.bp_reg() {
        reg::UNDEFINED => cursor.fp,
        reg::PREV_SP => machine.word(sp.wrapping_add_signed(i64::from(entry.bp_offset)))?,
        _ => return None,
    };
    Some(Cursor { pc: machine.word(sp.wrapping_sub(8))?, sp, fp, exact: false })
}

/// One step, by the entry for the frame's code.
pub(super) fn step(
    format: TableFormat,
    cursor: &Cursor,
    bottom: Addr,
    machine: &impl Machine,
) -> Result<Step, Unreliable> {
    let unknown = Unreliable::NoUnwindInfo(cursor.pc);
    let entry = Entry::find(format, cursor.in_function(), machine).ok_or(unknown)?;
    match entry.kind() {
        Kind::Call => {
            let sp = frame(entry, cursor, machine)?;
            let pc = word(sp.wrapping_sub(8), machine)?;
            if cursor.exact && sp == cursor.sp.wrapping_add(8) && is_jump_target(format, pc, machine) {
                return Err(Unreliable::Exception(cursor.pc));
            }
            Ok(Step::Caller(Cursor { pc, sp, fp: frame_pointer(entry, cursor, sp, machine)?, exact: false }))
        }
        Kind::Registers => {
            let at = frame(entry, cursor, machine)?;
            interrupted(entry, cursor, Registers(at), bottom, machine, || match entry.bp_reg() {
                reg::UNDEFINED => Registers(at).bp(machine),
                _ => frame_pointer(entry, cursor, at, machine),
            })
        }
        Kind::Partial => {
            let at = frame(entry, cursor, machine)?;
            let registers = Registers(at.wrapping_sub(IP));
            interrupted(entry, cursor, registers, bottom, machine, || {
                frame_pointer(entry, cursor, at, machine)
            })
        }
        Kind::EndOfStack if cursor.sp == bottom => Ok(Step::Bottom),
        // There the mark also stands on code that was merely left undescribed, like the first instruction of retpolines
        // (`UNWIND_HINT_EMPTY` in `arch/x86/lib/retpoline.S`).
        Kind::EndOfStack if cursor.exact && format == TableFormat::EndBit => Err(unknown),
        Kind::EndOfStack => Err(Unreliable::NotTheBottom(cursor.sp)),
        Kind::Undefined => Err(unknown),
    }
}

/// Whether the word on top of an interrupted function's stack is one that its `ret` jumps to, and no return address: so a
/// retpoline reaches its target (`mov %reg,(%rsp); ret`), and the table describes that `ret` like any other.
///
/// A target mostly follows no call. Where it does, since what is in front of it ends with the call of a function that never
/// returns, its own entry begins right there.
#[cold]
fn is_jump_target(format: TableFormat, pc: Addr, machine: &impl Machine) -> bool {
    if matches!(machine.code(pc), Code::ReturnTrampoline(_))
        || machine.code(pc.wrapping_sub(1)) != Code::Function
    {
        return false;
    }
    let mut before = [0; 8];
    let follows_call = machine.text(pc.wrapping_sub(8), &mut before) && X86_64::follows_call(pc, &before);
    !follows_call || Entry::find(format, pc, machine) != Entry::find(format, pc.wrapping_sub(1), machine)
}

/// `sp_reg + sp_offset`: where the caller's frame begins, or a register block.
fn frame(entry: Entry, cursor: &Cursor, machine: &impl Machine) -> Result<Addr, Unreliable> {
    let offset = i64::from(entry.sp_offset);
    Ok(match entry.sp_reg() {
        reg::SP => cursor.sp.wrapping_add_signed(offset),
        reg::BP => cursor.fp.wrapping_add_signed(offset),
        // The offset of the one is added behind, of the other before the read (`arch/x86/kernel/unwind_orc.c`).
        reg::SP_INDIRECT => word(cursor.sp, machine)?.wrapping_add_signed(offset),
        reg::BP_INDIRECT => word(cursor.fp.wrapping_add_signed(offset), machine)?,
        // Where a function has realigned its stack and not saved the old one's address yet. A walk does not carry these.
        reg::R10 | reg::R13 | reg::DI | reg::DX if cursor.exact => {
            return Err(Unreliable::CallerInRegister(cursor.pc));
        }
        _ => return Err(Unreliable::NoUnwindInfo(cursor.pc)),
    })
}

/// rbp of the caller, whose frame begins at `frame`.
fn frame_pointer(
    entry: Entry,
    cursor: &Cursor,
    frame: Addr,
    machine: &impl Machine,
) -> Result<u64, Unreliable> {
    let offset = i64::from(entry.bp_offset);
    match entry.bp_reg() {
        reg::UNDEFINED => Ok(cursor.fp),
        reg::PREV_SP => word(frame.wrapping_add_signed(offset), machine),
        reg::BP => word(cursor.fp.wrapping_add_signed(offset), machine),
        _ => Err(Unreliable::NoUnwindInfo(cursor.pc)),
    }
}

/// What was interrupted when `registers` were pushed. `fp` reads its rbp.
#[cold]
fn interrupted(
    entry: Entry,
    cursor: &Cursor,
    registers: Registers,
    bottom: Addr,
    machine: &impl Machine,
    fp: impl FnOnce() -> Result<u64, Unreliable>,
) -> Result<Step, Unreliable> {
    if registers.of_user(machine)? {
        return if registers.0 == bottom {
            Ok(Step::Bottom)
        } else {
            Err(Unreliable::NotTheBottom(cursor.sp))
        };
    }
    let pc = registers.pc(machine)?;
    if !entry.is_signal() {
        return Err(Unreliable::Exception(pc));
    }
    Ok(Step::Interrupted(Cursor { pc, sp: registers.sp(machine)?, fp: fp()?, exact: true }))
}

#[cfg(test)]
mod tests;
