// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of x86_64.
//!
//! Sources: *System V ABI, AMD64 Architecture Processor Supplement* ("psABI"), *Intel 64 and IA-32 Architectures
//! Software Developer's Manual* ("SDM"), and the kernel files that each item names, read in 6.1 and 6.12.
//!
//! A function that can be traced begins like this; the addresses are relative to what a function pointer holds:
//!
//! ```text
//!  -16  call padding: 16 one-byte NOPs        CONFIG_CALL_PADDING (6.12); not in 6.1
//!    0  endbr64                               CONFIG_X86_KERNEL_IBT, and the function can be called indirectly
//!  0/4  call __fentry__, soon a 5-byte NOP    the patch site
//!  5/9  …                                     where the trampoline resumes
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod branch;
mod ftrace;
mod reloc;
mod unwind;

pub use reloc::r_type;

use core::ops::Range;

use klp_core::branch::Code;
use klp_core::patchable::{Patchable, PatchableEntry};
use klp_core::{Architecture, Endian};

/// The x86_64 architecture.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

impl Architecture for X86_64 {
    const NAME: &'static str = "x86_64";
    /// `EM_X86_64` (psABI §4.1, "ELF Header").
    const ELF_MACHINE: u16 = 62;
    const ENDIAN: Endian = Endian::Little;
    const INSN_ALIGN: u64 = 1;
}

/// `endbr64` (SDM vol. 2, "ENDBR64"): where indirect-branch tracking is on, every indirect branch must land on one.
pub const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// `nopl 0(%rax,%rax,1)`: the recommended NOP of five bytes (SDM vol. 2B, "NOP").
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Room that kernels with CONFIG_CALL_PADDING leave around a function: `-fpatchable-function-entry=16,16`
/// (`arch/x86/Makefile`; 16 is CONFIG_FUNCTION_PADDING_BYTES).
///
/// All of it is before the function, so there is no `after` room: the site behind the landing pad is ftrace's. The
/// padding is not ours unconditionally either. Call-depth tracking puts its accounting there
/// (`arch/x86/kernel/callthunks.c`) and kCFI/FineIBT its hash check (`arch/x86/kernel/alternative.c`): only padding
/// that holds nothing but NOPs is free.
pub const CALL_PADDING: PatchableEntry = PatchableEntry::from_n_m(16, 16, 1, 4);

impl Patchable for X86_64 {
    const NOP_LEN: usize = 1;

    /// One byte each, before a function and at its entry, as gcc makes them; at the entry one of five bytes where somebody has
    /// made one of them.
    fn nop(code: &[u8]) -> Option<usize> {
        match code {
            [0x90, ..] => Some(1),
            _ => code.starts_with(&NOP5).then_some(NOP5.len()),
        }
    }

    fn landing_pad(code: &[u8]) -> usize {
        if code.get(..ENDBR64.len()).is_some_and(ftrace::is_landing_pad) { ENDBR64.len() } else { 0 }
    }

    /// All of it, by the kernel's breakpoint protocol.
    const FLIP: Range<usize> = 0..5;

    fn idle(_branch: &Code) -> Code {
        Code::new(&NOP5)
    }

    /// Text and modules lie in the same 2 GiB (`Documentation/arch/x86/x86_64/mm.rst`), and the breakpoint protocol exchanges one
    /// jump for another as it does a NOP for a jump.
    const SLOT_IS_BRANCH: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_padding_ends_where_the_function_begins() {
        assert_eq!(CALL_PADDING.slot(0xffff_ffff_8100_0010), 0xffff_ffff_8100_0000);
        assert_eq!(CALL_PADDING.site(0xffff_ffff_8100_0010), 0xffff_ffff_8100_0014);
        assert_eq!((CALL_PADDING.before, CALL_PADDING.after), (16, 0));
    }
}
