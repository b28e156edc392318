// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Entries of objtool's tables, made and not read: `Documentation/arch/x86/orc-unwinder.rst`, `struct orc_entry` in
//! `arch/x86/include/asm/orc_types.h` of both formats.

use klp_core::Addr;
use klp_core::unwind::{Cursor, TableFormat};

/// `ORC_REG_*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reg {
    Undefined = 0,
    PrevSp = 1,
    Bp = 4,
    Sp = 5,
    R10 = 6,
    BpIndirect = 8,
    SpIndirect = 9,
}

/// What an entry describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Undefined,
    End,
    Call,
    Registers,
    /// The registers that the processor pushes.
    Partial,
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orc {
    pub kind: Kind,
    pub sp: (Reg, i16),
    pub bp: (Reg, i16),
    pub signal: bool,
}

impl Orc {
    pub(super) const fn call(reg: Reg, offset: i16) -> Orc {
        Orc { kind: Kind::Call, sp: (reg, offset), bp: (Reg::Undefined, 0), signal: false }
    }

    pub(super) const fn undefined() -> Orc {
        Orc { kind: Kind::Undefined, ..Orc::call(Reg::Undefined, 0) }
    }

    pub(super) const fn bp(self, bp: (Reg, i16)) -> Orc {
        Orc { bp, ..self }
    }

    /// The six bytes.
    pub(super) fn encode(self, format: TableFormat) -> [u8; 6] {
        let [s0, s1] = self.sp.1.to_le_bytes();
        let [b0, b1] = self.bp.1.to_le_bytes();
        let kind = match (format, self.kind) {
            // Undefined and the end have no stack register; the end has bit 2 set.
            (TableFormat::EndBit, Kind::Undefined | Kind::Call) => 0,
            (TableFormat::EndBit, Kind::Registers) => 1,
            (TableFormat::EndBit, Kind::Partial) => 2,
            (TableFormat::EndBit, Kind::End) => 1 << 2,
            (TableFormat::SignalBit, Kind::Undefined) => 0,
            (TableFormat::SignalBit, Kind::End) => 1,
            (TableFormat::SignalBit, Kind::Call) => 2,
            (TableFormat::SignalBit, Kind::Registers) => 3,
            (TableFormat::SignalBit, Kind::Partial) => 4,
        };
        let signal = u8::from(self.signal && format == TableFormat::SignalBit) << 3;
        [s0, s1, b0, b1, self.sp.0 as u8 | (self.bp.0 as u8) << 4, kind | signal]
    }

    /// Where the caller's frame, or the register block, begins.
    pub(super) fn frame(&self, cursor: &Cursor, word: impl Fn(Addr) -> Option<u64>) -> Option<Addr> {
        let offset = i64::from(self.sp.1);
        match self.sp.0 {
            Reg::Sp => Some(cursor.sp.wrapping_add_signed(offset)),
            Reg::Bp => Some(cursor.fp.wrapping_add_signed(offset)),
            Reg::SpIndirect => word(cursor.sp).map(|sp| sp.wrapping_add_signed(offset)),
            Reg::BpIndirect => word(cursor.fp.wrapping_add_signed(offset)),
            Reg::Undefined | Reg::PrevSp | Reg::R10 => None,
        }
    }

    /// The caller's rbp.
    pub(super) fn caller_bp(
        &self,
        cursor: &Cursor,
        frame: Addr,
        word: impl Fn(Addr) -> Option<u64>,
    ) -> Option<u64> {
        let offset = i64::from(self.bp.1);
        match self.bp.0 {
            Reg::Undefined => Some(cursor.fp),
            Reg::PrevSp => word(frame.wrapping_add_signed(offset)),
            Reg::Bp => word(cursor.fp.wrapping_add_signed(offset)),
            _ => None,
        }
    }
}
