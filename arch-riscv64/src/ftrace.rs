// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The ftrace trampoline of riscv64 (`arch/riscv/kernel/mcount-dyn.S`).
//!
//! The compiler leaves 8 bytes of NOPs at a function's first instruction. ftrace makes them two `nop` of 4 bytes when it
//! finds the function, and `auipc t0; jalr t0` while somebody wants the call: these 8 bytes are the site. It writes them with
//! the machine stopped. At the trampoline ra is the caller's return address and t0 is behind the site.
//!
//! | register at the site | in the block | when the trampoline resumes |
//! |---|---|---|
//! | t0 (behind the site) | `epc` | t0 = `epc`, and it is jumped to |
//! | ra (the caller's return address) | `ra` | ra = `ra` |
//! | sp | `sp` | sp as at the site; the block's value is not used |
//! | s0 | `s0` | from the block |
//! | a0 … a7 | yes | from the block |
//!
//! t1 in the block is zero when the trampoline is entered, and where a direct call goes if not; it is left alone. gp and tp
//! are the kernel's everywhere (modules are not relaxed to gp), so a replacement in another module returns straight to
//! the caller.

use klp_core::Addr;
use klp_core::ftrace::{FtraceRedirect, PatchSite, Registers, RegsLayout, RegsNeeded, SiteError};

use crate::{C_NOP, NOP, Riscv64, insn, parcel};

/// The length of a site (`MCOUNT_INSN_SIZE`, `arch/riscv/include/asm/ftrace.h`).
const SITE_LEN: usize = 8;

/// Whether this instruction is `auipc t0`.
pub(crate) const fn is_auipc_t0(insn: u32) -> bool {
    insn & 0xfff == 0x297
}

/// Whether this instruction is `jalr t0,…(t0)`.
pub(crate) const fn is_jalr_t0(insn: u32) -> bool {
    insn & 0xf_ffff == 0x2_82e7
}

impl FtraceRedirect for Riscv64 {
    const MAX_SITE_OFFSET: u64 = 0;
    const ENTRY_LEN: usize = SITE_LEN;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = false;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        if location != function {
            let offset = location.wrapping_sub(function).cast_signed();
            return Err(SiteError::TooFar { offset, limit: Self::MAX_SITE_OFFSET });
        }
        let code: &[u8; SITE_LEN] = code.first_chunk().ok_or(SiteError::ShortCode)?;
        let word = |at: usize| insn(code, at).unwrap_or_default();
        let unknown = |at: usize| {
            Err(SiteError::UnknownCode { at: function + at as u64, found: word(at).to_le_bytes() })
        };

        let as_compiled = (0..SITE_LEN).step_by(2).all(|at| parcel(code, at) == Some(C_NOP));
        let is_second: fn(u32) -> bool = match word(0) {
            _ if as_compiled => |_| true,
            NOP => |insn| insn == NOP,
            first if is_auipc_t0(first) => is_jalr_t0,
            _ => return unknown(0),
        };
        if !is_second(word(4)) {
            return unknown(4);
        }
        Ok(PatchSite { function, site: location, resume: location + SITE_LEN as u64 })
    }

    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, _return_stub: Addr) {
        regs.write(layout.pc, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: Addr = 0xffff_ffff_8000_2002;
    const AUIPC_T0: u32 = 0x0001_2297;
    const JALR_T0: u32 = 0x8a42_82e7;
    const C_NOPS: u32 = 0x0001_0001;

    fn site(insns: [u32; 2], offset: u64) -> Result<PatchSite, SiteError> {
        let code: [u8; 8] = core::array::from_fn(|i| insns[i / 4].to_le_bytes()[i % 4]);
        Riscv64::patch_site(FUNCTION, FUNCTION.wrapping_add(offset), &code)
    }

    fn unknown(offset: u64, found: u32) -> Result<PatchSite, SiteError> {
        Err(SiteError::UnknownCode { at: FUNCTION + offset, found: found.to_le_bytes() })
    }

    #[test]
    fn a_site_is_the_first_eight_bytes() {
        let found = Ok(PatchSite { function: FUNCTION, site: FUNCTION, resume: FUNCTION + 8 });
        assert_eq!(site([C_NOPS, C_NOPS], 0), found, "as compiled");
        assert_eq!(site([NOP, NOP], 0), found, "disabled");
        assert_eq!(site([AUIPC_T0, JALR_T0], 0), found, "enabled");
    }

    #[test]
    fn a_site_that_does_not_fit_the_code_is_refused() {
        assert_eq!(site([NOP, JALR_T0], 0), unknown(4, JALR_T0));
        assert_eq!(site([AUIPC_T0, NOP], 0), unknown(4, NOP));
        assert_eq!(site([C_NOPS, NOP], 0), unknown(0, C_NOPS));
        assert_eq!(site([NOP, C_NOPS], 0), unknown(4, C_NOPS));
        let (auipc_ra, jalr_ra) = (0x0001_2097, 0x8a40_80e7);
        assert_eq!(site([auipc_ra, jalr_ra], 0), unknown(0, auipc_ra), "an ordinary call");
        assert_eq!(site([AUIPC_T0, jalr_ra], 0), unknown(4, jalr_ra));
        let (ebreak, c_ebreak) = (0x0010_0073, 0x0001_9002);
        assert_eq!(site([ebreak, NOP], 0), unknown(0, ebreak), "no kprobe can be on the site");
        assert_eq!(site([c_ebreak, NOP], 0), unknown(0, c_ebreak));
        assert_eq!(site([NOP, NOP], 4), Err(SiteError::TooFar { offset: 4, limit: 0 }));
        let before = 8_u64.wrapping_neg();
        assert_eq!(site([NOP, NOP], before), Err(SiteError::TooFar { offset: -8, limit: 0 }));
        assert_eq!(
            Riscv64::patch_site(FUNCTION, FUNCTION, &[1, 0, 1, 0, 1, 0, 1]),
            Err(SiteError::ShortCode)
        );
    }

    /// epc, ra, sp.
    struct Block([u64; 3]);

    impl Registers for Block {
        fn read(&self, offset: u16) -> u64 {
            self.0[usize::from(offset) / 8]
        }
        fn write(&mut self, offset: u16, value: u64) {
            self.0[usize::from(offset) / 8] = value;
        }
    }

    #[test]
    fn a_redirect_changes_the_pc_alone() {
        let layout = RegsLayout { size: 24, pc: 0, sp: 16, ra: 8, gprs: RegsLayout::ABSENT };
        let (epc, ra, sp) = (FUNCTION + 8, FUNCTION - 0x100, 0xff20_0000_0123_3f00);
        let mut block = Block([epc, ra, sp]);
        assert_eq!(Riscv64::resume_address(&block, &layout), epc);
        let target = 0xffff_ffff_0100_2000;
        Riscv64::redirect(&mut block, &layout, target, 0);
        assert_eq!(block.0, [target, ra, sp]);
    }
}
