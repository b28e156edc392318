// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The register block that an exception, interrupt or system call leaves on the stack: `struct pt_regs`
//! (`arch/x86/include/uapi/asm/ptrace.h`).

use klp_core::Addr;
use klp_core::unwind::{Machine, Unreliable};

use super::word;

/// Offset of rbp.
const BP: u64 = 32;
/// Offset of rip, where the part begins that the processor itself pushes (SDM vol. 3, §6.14.2): rip, cs, rflags, rsp, ss.
pub(super) const IP: u64 = 128;
const CS: u64 = 136;
const SP: u64 = 152;

/// Bits of a code segment selector that hold the privilege level (SDM vol. 3, §5.5); the kernel's is 0.
const PRIVILEGE: u64 = 3;

/// A register block: its address, whether or not the registers up to rip have been pushed yet.
#[derive(Clone, Copy)]
pub(super) struct Registers(pub(super) Addr);

impl Registers {
    pub(super) fn bp(self, machine: &impl Machine) -> Result<u64, Unreliable> {
        word(self.0.wrapping_add(BP), machine)
    }

    pub(super) fn pc(self, machine: &impl Machine) -> Result<u64, Unreliable> {
        word(self.0.wrapping_add(IP), machine)
    }

    pub(super) fn sp(self, machine: &impl Machine) -> Result<u64, Unreliable> {
        word(self.0.wrapping_add(SP), machine)
    }

    /// Whether they are those of user mode.
    pub(super) fn of_user(self, machine: &impl Machine) -> Result<bool, Unreliable> {
        Ok(word(self.0.wrapping_add(CS), machine)? & PRIVILEGE != 0)
    }
}
