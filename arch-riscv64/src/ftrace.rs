// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ftrace on riscv64: the patch site and the trampoline's register block.
//!
//! Read in 6.12 (`arch/riscv/Makefile`, `arch/riscv/kernel/ftrace.c`, `arch/riscv/kernel/mcount-dyn.S`,
//! `arch/riscv/include/asm/ftrace.h`):
//!
//! | site, the function's first 8 bytes | state |
//! |---|---|
//! | `c.nop`, four times | as gcc leaves it (`-fpatchable-function-entry=4`; `=2` of four bytes each without compressed instructions) |
//! | `nop`, `nop` | disabled: ftrace writes that when it finds the function (`ftrace_init_nop`) |
//! | `auipc t0,…`, `jalr t0,…(t0)` | enabled: to a trampoline, or directly to somebody's function |
//!
//! ftrace changes both with all other CPUs stopped (`arch_ftrace_update_code`). No task is between them then, since Debian's kernels
//! do not preempt kernel code (`PREEMPT_VOLUNTARY`).
//!
//! | register at the site | in the block | when the trampoline resumes |
//! |---|---|---|
//! | t0 (behind the site) | `epc` | t0 = `epc`, and there (`jr t0`) |
//! | ra (the caller's return address) | `ra` | ra = `ra` |
//! | sp | `sp` | sp as at the site; the block's value is not used |
//! | a0 … a7, s0 | yes | from the block |
//! | t1 | zero | goes there in place of `epc`, with t0 = `epc`, if it is not zero: a direct call |
//!
//! The block is the smaller `struct ftrace_regs`, whoever asks (`DYNAMIC_FTRACE_WITH_ARGS`; there is no `…_WITH_REGS` any more).
//! ftrace's `ip` is the site: `epc` less 8 (`FENTRY_RA_OFFSET`). Kprobes are not on ftrace: none is accepted at a site
//! (`check_ftrace_location` in `kernel/kprobes.c`), and one by name of a function that can be traced is refused. One on the second
//! instruction is not refused by the kernel, and the site is no site then.
//!
//! A caller relies on callee-saved registers alone, gp and tp being the same everywhere in the kernel (psABI, "Integer Register
//! Convention"), so nothing has to be put back.

use klp_core::Addr;
use klp_core::ftrace::{FtraceRedirect, PatchSite, Registers, RegsLayout, RegsNeeded, SiteError};

use crate::{NOP, Riscv64, insn};

/// Length of the patch site (`MCOUNT_INSN_SIZE`).
const SITE_LEN: usize = 8;

/// `c.nop`, twice.
const TWO_SHORT_NOPS: u32 = 0x0001_0001;

/// `auipc t0,…`: the opcode and the register.
const fn is_auipc_t0(insn: u32) -> bool {
    insn & 0xfff == 0x297
}

/// `jalr t0,…(t0)`.
const fn is_jalr_t0(insn: u32) -> bool {
    insn & 0xf_ffff == 0x2_82e7
}

impl FtraceRedirect for Riscv64 {
    const MAX_SITE_OFFSET: u64 = 0;
    const ENTRY_LEN: usize = SITE_LEN;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = false;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        let code: &[u8; SITE_LEN] = code.first_chunk().ok_or(SiteError::ShortCode)?;
        if location != function {
            let offset = location.wrapping_sub(function).cast_signed();
            return Err(SiteError::TooFar { offset, limit: Self::MAX_SITE_OFFSET });
        }
        let word = |at: usize| insn(code, at).unwrap_or_default();
        let is_second: fn(u32) -> bool = match word(0) {
            TWO_SHORT_NOPS => |insn| insn == TWO_SHORT_NOPS,
            NOP => |insn| insn == NOP,
            first if is_auipc_t0(first) => is_jalr_t0,
            first => return Err(SiteError::UnknownCode { at: location, found: first.to_le_bytes() }),
        };
        if !is_second(word(4)) {
            return Err(SiteError::UnknownCode {
                at: location.wrapping_add(4),
                found: word(4).to_le_bytes(),
            });
        }
        Ok(PatchSite { function, site: location, resume: location.wrapping_add(SITE_LEN as u64) })
    }

    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, _return_stub: Addr) {
        regs.write(layout.pc, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: Addr = 0xffff_ffff_8023_1a2e;
    const AUIPC_T0: u32 = 0xffde_a297;
    const JALR_T0: u32 = 0x9d62_82e7;

    fn site(insns: [u32; 2]) -> Result<PatchSite, SiteError> {
        let code: [u8; 8] = core::array::from_fn(|i| insns[i / 4].to_le_bytes()[i % 4]);
        Riscv64::patch_site(F, F, &code)
    }

    fn unknown(offset: u64, found: u32) -> Result<PatchSite, SiteError> {
        Err(SiteError::UnknownCode { at: F + offset, found: found.to_le_bytes() })
    }

    #[test]
    fn a_site_is_the_first_two_instructions() {
        let found = Ok(PatchSite { function: F, site: F, resume: F + 8 });
        assert_eq!(site([TWO_SHORT_NOPS, TWO_SHORT_NOPS]), found, "as compiled");
        assert_eq!(site([NOP, NOP]), found, "disabled");
        assert_eq!(site([AUIPC_T0, JALR_T0]), found, "enabled");
        assert_eq!(site([0x0000_0297, 0x0002_82e7]), found, "enabled, to the site itself");
    }

    #[test]
    fn mixtures_and_other_code_are_refused() {
        for (first, second) in [
            (NOP, TWO_SHORT_NOPS),
            (TWO_SHORT_NOPS, NOP),
            (NOP, JALR_T0),
            (AUIPC_T0, NOP),
            (NOP, 0x0010_0073),      // ebreak: a kprobe on the second
            (AUIPC_T0, 0x0002_80e7), // jalr t0: links in ra
            (AUIPC_T0, 0x0003_02e7), // jalr t0, through t1
            (AUIPC_T0, 0x0002_92e7), // reserved
        ] {
            assert_eq!(site([first, second]), unknown(4, second), "{first:08x} {second:08x}");
        }
        for first in [0x0000_0097, 0xe406_1141, 0x0010_0073, 0x0001_9002, 0] {
            assert_eq!(site([first, JALR_T0]), unknown(0, first), "{first:08x}");
        }
    }

    #[test]
    fn a_site_elsewhere_belongs_to_another_function() {
        let nops = [0x13, 0, 0, 0, 0x13, 0, 0, 0];
        for offset in [2, 4, 8, -8_i64] {
            let location = F.wrapping_add_signed(offset);
            assert_eq!(Riscv64::patch_site(F, location, &nops), Err(SiteError::TooFar { offset, limit: 0 }));
        }
        assert_eq!(Riscv64::patch_site(F, F, &nops[..7]), Err(SiteError::ShortCode));
    }

    struct Block([u64; 13]);

    impl Registers for Block {
        fn read(&self, offset: u16) -> u64 {
            self.0[usize::from(offset) / 8]
        }
        fn write(&mut self, offset: u16, value: u64) {
            self.0[usize::from(offset) / 8] = value;
        }
    }

    #[test]
    fn a_redirect_changes_the_resume_address_and_nothing_else() {
        let layout = RegsLayout { size: 104, pc: 0, sp: 16, ra: 8, gprs: RegsLayout::ABSENT };
        let mut block = Block(core::array::from_fn(|i| 0x1000 + i as u64));
        let mut expected = block.0;
        expected[0] = F;
        assert_eq!(Riscv64::resume_address(&block, &layout), 0x1000);
        Riscv64::redirect(&mut block, &layout, F, 0);
        assert_eq!(block.0, expected);
    }
}
