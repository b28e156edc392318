// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Room that a compiler leaves at a function for a branch: `-fpatchable-function-entry=N,M`, s390's
//! `-mhotpatch=BEFORE,AFTER`, x86's call padding.

use crate::Addr;

/// The bytes of NOPs that a compiler left around one function's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchableEntry {
    /// Bytes of room directly before the function's address.
    pub before: u16,
    /// Bytes of room at the entry, behind a landing pad if there is one.
    pub after: u16,
    /// Bytes from the function's address to the `after` room: the length of the landing pad.
    pub after_offset: u16,
}

impl PatchableEntry {
    /// The entry that `-fpatchable-function-entry=n,m` gives where one NOP has `nop` bytes and a landing pad of `pad`
    /// bytes may stand first.
    pub const fn from_n_m(n: u16, m: u16, nop: u16, pad: u16) -> PatchableEntry {
        PatchableEntry { before: m * nop, after: (n - m) * nop, after_offset: pad }
    }

    /// Address of the room before the function at `function`.
    pub const fn slot(&self, function: Addr) -> Addr {
        function - self.before as u64
    }

    /// Address of the room at the entry of the function at `function`.
    pub const fn site(&self, function: Addr) -> Addr {
        function + self.after_offset as u64
    }
}
