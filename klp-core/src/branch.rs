// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capability 2, first half: direct branches, their reach, and the slots beyond it.

use crate::Addr;

/// Longest sequence [`FarBranch`] produces, in bytes.
pub const MAX_CODE: usize = 64;

/// A short run of instruction bytes, as they lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code {
    bytes: [u8; MAX_CODE],
    len: u8,
}

impl Code {
    /// No instructions.
    pub const EMPTY: Code = Code { bytes: [0; MAX_CODE], len: 0 };

    /// Code made of these bytes.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_CODE`] of them; all callers pass encodings of known length.
    pub const fn new(bytes: &[u8]) -> Code {
        Code::EMPTY.then(bytes)
    }

    /// This code with `more` behind it. Panics like [`new`](Self::new).
    pub const fn then(mut self, more: &[u8]) -> Code {
        let mut i = 0;
        while i < more.len() {
            self.bytes[self.len as usize] = more[i];
            self.len += 1;
            i += 1;
        }
        self
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What a branch does with the return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchKind {
    /// Leaves it alone: a jump, a tail call.
    Jump,
    /// Sets it to the following instruction.
    Call,
}

/// Where a decoded branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchTarget {
    /// To an address encoded in the instruction.
    Direct(Addr),
    /// To an address in a register or in memory.
    Indirect,
}

/// A decoded branch instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Call or jump.
    pub kind: BranchKind,
    /// Its target.
    pub target: BranchTarget,
    /// Length of the instruction in bytes.
    pub len: u8,
}

/// The distances a direct branch can cover, in bytes from the address of the branch instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Furthest backwards (negative).
    pub min: i64,
    /// Furthest forwards.
    pub max: i64,
    /// Distances must be multiples of this.
    pub align: u64,
}

impl Reach {
    /// Whether a branch at `from` can name `to`.
    pub const fn covers(&self, from: Addr, to: Addr) -> bool {
        let distance = to.wrapping_sub(from).cast_signed();
        distance >= self.min && distance <= self.max && distance.rem_euclid(self.align.cast_signed()) == 0
    }
}

/// Why a branch cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchError {
    /// The target is further away than [`FarBranch::REACH`].
    OutOfReach {
        /// The distance in bytes.
        distance: i64,
    },
    /// The branch or its target is not at an instruction boundary.
    Misaligned {
        /// The address that is not aligned.
        addr: Addr,
    },
}

/// Direct branches and slots of an architecture.
///
/// Encoders and decoders are inverse: whatever [`encode`](Self::encode) makes, [`decode`](Self::decode) reads back.
/// Pure functions, callable in any context.
///
/// A *slot* is code that continues at a target, wherever that is, as if it had been branched to: what ABIs call a PLT entry
/// or a veneer. Its code never changes. The target is data, the *literal*: 8 bytes behind the code, aligned to 8, which the
/// code reads by one load. So one aligned store of 8 bytes moves the slot to another target, and a CPU in the slot
/// meanwhile goes to the old or to the new one: every implementation cites why its load is single-copy atomic. No
/// instruction is rewritten, so no CPU has to be told. The new target's code must have been made fit to be executed by
/// all CPUs before its address is stored, which the module loader does.
pub trait FarBranch {
    /// What an unconditional direct branch or call reaches.
    const REACH: Reach;

    /// Length in bytes of the direct branch that [`encode`](Self::encode) makes.
    const BRANCH_LEN: usize;

    /// Length in bytes of a slot; never more than [`MAX_CODE`], and a multiple of [`SLOT_ALIGN`](Self::SLOT_ALIGN).
    const SLOT_LEN: usize;

    /// Alignment in bytes that a slot needs; a multiple of 8.
    const SLOT_ALIGN: u64 = 8;

    /// From the start of a slot to its literal, a multiple of 8: the target's address in the architecture's byte order.
    const SLOT_LITERAL: usize;

    /// Encodes a direct branch of the given kind at `from` to `to`.
    ///
    /// # Errors
    ///
    /// [`BranchError`] when `to` is out of reach or an address is not aligned.
    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError>;

    /// Decodes the instruction at `at`, if it is an unconditional branch or call, direct or indirect.
    ///
    /// `None` for everything else, returns included, and for code that is cut short.
    fn decode(at: Addr, code: &[u8]) -> Option<Branch>;

    /// Whether the instruction that ends at `return_address` is a call.
    ///
    /// `before` holds the bytes that end there, at least 8 of them unless the text starts nearer. A stack walk uses it:
    /// a return address that follows no call is no return address (`reference/2015-stack-walking-must-be-100-percent`).
    /// Where instructions have several lengths, true means that *some* decoding of the bytes ends in a call.
    fn follows_call(return_address: Addr, before: &[u8]) -> bool;

    /// Encodes a slot at `at` that is entered by branches of the given kind and continues at `target`.
    ///
    /// It may change only registers that the ABI lets a linker's stub change between caller and callee, and starts
    /// with a landing pad if an indirect branch may enter it. A slot for calls does what the ABI asks of a stub between
    /// two objects, such as saving the caller's TOC pointer; one for jumps leaves memory alone.
    ///
    /// # Errors
    ///
    /// [`BranchError::Misaligned`] if `at` or `target` is.
    fn slot(kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError>;

    /// The target of the slot made by [`slot`](Self::slot) that starts `code`; `None` if it is none, or if no instruction is where it
    /// leads: some branches would drop the lowest bits, and go elsewhere than the literal says.
    fn slot_target(at: Addr, code: &[u8]) -> Option<Addr>;
}
