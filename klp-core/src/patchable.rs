// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Room that a compiler leaves at a function for a branch: `-fpatchable-function-entry=N,M`, s390's
//! `-mhotpatch=BEFORE,AFTER`, x86's call padding.
//!
//! A function is entered through its own slot when the slot lies in the room before it, and one branch to it in the room at
//! its entry. Flipping that one instruction switches the function.

use core::fmt;
use core::ops::Range;

use crate::branch::{Branch, BranchError, BranchKind, BranchTarget, Code};
use crate::{Addr, FarBranch};

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

/// What compilers of an architecture fill room with. Pure functions over bytes.
pub trait Patchable: FarBranch {
    /// Length of the NOPs before a function.
    const NOP_LEN: usize;

    /// Length of the NOP that starts `code`, if one does with which compilers fill room.
    fn nop(code: &[u8]) -> Option<usize>;

    /// Length of the landing pad that starts `code`, or 0.
    fn landing_pad(code: &[u8]) -> usize;

    /// The bytes of a branch at an entry that are exchanged, under CPUs that may execute it, to switch it on or off: all that
    /// differ from [`idle`](Self::idle).
    const FLIP: Range<usize>;

    /// The instruction that is in a branch's place while the function is not redirected, and goes on behind it.
    fn idle(branch: &Code) -> Code;

    /// Whether a function's own slot is one direct branch, in place of which another can be written under CPUs that execute it.
    /// For an architecture whose branches reach all of the kernel and its modules; elsewhere the slot is one of [`FarBranch`],
    /// and its literal is written.
    const SLOT_IS_BRANCH: bool = false;
}

/// Length in bytes of a function's own slot.
#[must_use]
pub const fn slot_len<A: Patchable>() -> usize {
    if A::SLOT_IS_BRANCH { A::BRANCH_LEN } else { A::SLOT_LEN }
}

/// Alignment in bytes of a function's own slot.
#[must_use]
pub const fn slot_align<A: Patchable>() -> u64 {
    if A::SLOT_IS_BRANCH { A::REACH.align } else { A::SLOT_ALIGN }
}

/// A function's own slot at `at`, which goes on at `target`.
///
/// # Errors
///
/// As [`FarBranch::encode`] or [`FarBranch::slot`].
pub fn slot<A: Patchable>(at: Addr, target: Addr) -> Result<Code, BranchError> {
    if A::SLOT_IS_BRANCH {
        A::encode(BranchKind::Jump, at, target)
    } else {
        A::slot(BranchKind::Jump, at, target)
    }
}

/// Where the own slot of a function at `at`, the start of `code`, leads; `None` if there is none.
#[must_use]
pub fn slot_target<A: Patchable>(at: Addr, code: &[u8]) -> Option<Addr> {
    if !A::SLOT_IS_BRANCH {
        return A::slot_target(at, code);
    }
    match A::decode(at, code)? {
        Branch { kind: BranchKind::Jump, target: BranchTarget::Direct(target), len } => {
            (usize::from(len) == A::BRANCH_LEN).then_some(target)
        }
        _ => None,
    }
}

/// Where a function's own slot and the branch to it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where the slot goes, aligned as it has to be.
    pub slot: Addr,
    /// Where the branch to it goes.
    pub site: Addr,
    /// Whether one NOP of a branch's length is there. If not, no CPU may be in the function when the branch is written
    /// first: it might be between two of the NOPs.
    pub one_nop: bool,
}

/// How much room a module's compiler was told to leave at each function, in bytes (`klp build --patchable`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Before a function.
    pub before: u16,
    /// At its entry.
    pub after: u16,
}

/// Why a function cannot be entered through a slot of its own. `N` is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom<N> {
    /// The function.
    pub func: N,
    /// Where there is too little room.
    pub at: Lack,
}

/// Where there is too little room for a slot and a branch to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Before the function, in bytes of NOPs; what is needed includes what aligns the slot.
    Before {
        /// What is there.
        found: usize,
        /// What a slot needs.
        needed: usize,
    },
    /// At its entry, behind a landing pad.
    Entry {
        /// What is there.
        found: usize,
        /// What a branch needs.
        needed: usize,
    },
    /// At its entry, where there are several NOPs in place of one.
    OneNop {
        /// How long the one has to be.
        needed: usize,
    },
}

impl PatchableEntry {
    /// The entry that `-fpatchable-function-entry=n,m` gives where one NOP has `nop` bytes and a landing pad of `pad`
    /// bytes may stand first.
    pub const fn from_n_m(n: u16, m: u16, nop: u16, pad: u16) -> PatchableEntry {
        PatchableEntry { before: m * nop, after: (n - m) * nop, after_offset: pad }
    }

    /// What there is in the bytes that end at a function and those that start there. NOPs that only align the function
    /// cannot be told from room: give no more bytes before it than are room.
    pub fn of_code<A: Patchable>(before: &[u8], code: &[u8]) -> PatchableEntry {
        let pad = A::landing_pad(code);
        let mut after = 0;
        while let Some(len) = code.get(pad + after..).and_then(A::nop) {
            after += len;
        }
        let room = before.rchunks_exact(A::NOP_LEN).take_while(|nop| A::nop(nop) == Some(A::NOP_LEN)).count();
        let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        PatchableEntry { before: short(room * A::NOP_LEN), after: short(after), after_offset: short(pad) }
    }

    /// Address of the room before the function at `function`.
    pub const fn slot(&self, function: Addr) -> Addr {
        function - self.before as u64
    }

    /// Address of the room at the entry of the function at `function`.
    pub const fn site(&self, function: Addr) -> Addr {
        function + self.after_offset as u64
    }

    /// What the section `__patchable_function_entries` has for the function at `function`: the first NOP.
    pub const fn first_nop(&self, function: Addr) -> Addr {
        if self.before > 0 { self.slot(function) } else { self.site(function) }
    }
}

/// Where the slot of the function at `function` and the branch to it go: in the NOPs of `before`, the bytes that end there,
/// and `code`, those that start there.
///
/// # Errors
///
/// There are too few; the error has the function's name.
pub fn room<A: Patchable, N>(func: N, function: Addr, before: &[u8], code: &[u8]) -> Result<Room, NoRoom<N>> {
    let entry = PatchableEntry::of_code::<A>(before, code);
    let (found, len) = (usize::from(entry.before), slot_len::<A>());
    // The slot that ends nearest to the function.
    let above = function.wrapping_sub(len as u64) % slot_align::<A>();
    let needed = len + usize::try_from(above).unwrap_or(0);
    if found < needed {
        return Err(NoRoom { func, at: Lack::Before { found, needed } });
    }
    let (found, needed) = (usize::from(entry.after), A::BRANCH_LEN);
    if found < needed {
        return Err(NoRoom { func, at: Lack::Entry { found, needed } });
    }
    let one_nop = A::nop(&code[usize::from(entry.after_offset)..]) == Some(A::BRANCH_LEN);
    Ok(Room { slot: function - len as u64 - above, site: entry.site(function), one_nop })
}

/// As [`room`], where the branch can be written under CPUs that may be in the function: in place of one NOP. Also of a function
/// whose slot was filled before, whether its entry branches to it or not.
///
/// # Errors
///
/// As there, or there are several NOPs.
pub fn site<A: Patchable, N: Copy>(
    func: N,
    function: Addr,
    before: &[u8],
    code: &[u8],
) -> Result<Room, NoRoom<N>> {
    let room = match filled::<A>(function, before, code) {
        Some(room) => room,
        None => room::<A, N>(func, function, before, code)?,
    };
    let several = NoRoom { func, at: Lack::OneNop { needed: A::BRANCH_LEN } };
    if room.one_nop { Ok(room) } else { Err(several) }
}

/// Where the function at `function` has a slot already.
fn filled<A: Patchable>(function: Addr, before: &[u8], code: &[u8]) -> Option<Room> {
    let len = slot_len::<A>();
    let above = usize::try_from(function.wrapping_sub(len as u64) % slot_align::<A>()).ok()?;
    let start = before.len().checked_sub(len + above)?;
    let slot = function - (len + above) as u64;
    let target = slot_target::<A>(slot, &before[start..start + len])?;
    let pad = A::landing_pad(code);
    let (site, entry) = (function + pad as u64, code.get(pad..)?);
    let branches = A::decode(site, entry)
        .is_some_and(|branch| branch.kind == BranchKind::Jump && branch.target == BranchTarget::Direct(slot));
    // Nobody enters it, so it leads behind the entry; a jump that leads elsewhere is another function's.
    let idle = A::nop(entry) == Some(A::BRANCH_LEN) && target == site + A::BRANCH_LEN as u64;
    (branches || idle).then_some(Room { slot, site, one_nop: true })
}

impl<N: AsRef<str>> fmt::Display for NoRoom<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let func = self.func.as_ref();
        match self.at {
            Lack::Before { found, needed } => write!(
                f,
                "function '{func}' has no room for a slot: {found} bytes of NOPs before it, {needed} are needed"
            ),
            Lack::Entry { found, needed } => write!(
                f,
                "function '{func}' has no room for a branch: {found} bytes of NOPs at its entry, {needed} are needed"
            ),
            Lack::OneNop { needed } => write!(
                f,
                "function '{func}' has no room for a branch: several NOPs are at its entry, one of {needed} bytes is needed"
            ),
        }
    }
}
