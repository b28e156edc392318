// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What every architecture states about itself.

use crate::stated::Fact;
use crate::{FarBranch, FtraceRedirect, Patchable, Relocate, Unwind};

/// An address in the kernel that is patched, which need not be the one this code runs in.
pub type Addr = u64;

/// Byte order of data in memory. Instructions may have an order of their own: each trait method that takes code bytes
/// takes them as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// One architecture: its three capabilities, and the facts they share.
///
/// Implemented by a unit type (`struct Arm64;`). A porter writes one crate with one such type.
pub trait Architecture: FtraceRedirect + FarBranch + Patchable + Relocate + Unwind + 'static {
    /// The name that `--arch` takes.
    const NAME: &'static str;

    /// `e_machine` of its kernel modules (ELF gABI, "ELF header"; `include/uapi/linux/elf-em.h`).
    const ELF_MACHINE: u16;

    /// Byte order of its data.
    const ENDIAN: Endian;

    /// Every instruction starts at a multiple of this many bytes.
    const INSN_ALIGN: u64;

    /// What is not stated yet. Nothing, but of an architecture that is being written.
    const UNSTATED: &'static [Fact] = &[];

    /// Recovers a code address from a word that a function saved as its return address.
    ///
    /// The identity nearly everywhere. Where return addresses are signed (arm64 pointer authentication) the signature
    /// is replaced by the canonical upper bits; `word` need not be an address at all, the result is only meant to be
    /// compared.
    fn strip_return_address(word: u64) -> Addr {
        word
    }
}
