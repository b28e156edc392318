// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The ftrace trampoline of arm64 (`arch/arm64/kernel/entry-ftrace.S`).
//!
//! The compiler leaves two NOPs at a function. ftrace makes the first `mov x9,x30` when it finds the function, for
//! good, and the second `bl` while somebody wants the call: this second one is the site. At the trampoline x9 is the
//! caller's return address and x30 is behind the site.
//!
//! | register at the site | in the block | when the trampoline resumes |
//! |---|---|---|
//! | x30 (behind the site) | `pc` | `pc`, through `ret x9` |
//! | x9 (the caller's return address) | `lr` | x30 = `lr` |
//! | sp | `sp` | sp as at the site; the block's value is not used |
//! | x0 … x8 | yes | from the block |
//! | x29 | yes | from the block |
//!
//! The block is `struct pt_regs` in kernels with `DYNAMIC_FTRACE_WITH_REGS`, else the smaller `struct ftrace_regs`. A
//! redirect needs nothing that the smaller one lacks.
//!
//! The trampoline resumes with RET, which unlike BR may lead to any instruction of a guarded page: RET leaves
//! PSTATE.BTYPE zero (Arm ARM C6.2, "RET"). A replacement needs no landing pad for it. The return address is not signed
//! yet when the site is reached, so the replacement signs it for itself.

use klp_core::Addr;
use klp_core::ftrace::{FtraceRedirect, PatchSite, Registers, RegsLayout, RegsNeeded, SiteError};

use crate::{Arm64, insn};

/// `nop`, that is `hint #0`.
const NOP: u32 = 0xd503_201f;
/// `mov x9,x30`, that is `orr x9,xzr,x30`.
pub(crate) const MOV_X9_LR: u32 = 0xaa1e_03e9;
/// `brk #4` of a kprobe (`KPROBES_BRK_IMM` in `arch/arm64/include/asm/brk-imm.h`) on the function, which is a kprobe on
/// the first of the two instructions. It runs that one in its place.
pub(crate) const KPROBE: u32 = 0xd420_0080;
/// `bti c` and `bti jc`.
const LANDING_PADS: [u32; 2] = [0xd503_245f, 0xd503_24df];

/// Whether this instruction is `bl`.
pub(crate) const fn is_bl(insn: u32) -> bool {
    insn >> 26 == 0b10_0101
}

impl FtraceRedirect for Arm64 {
    const MAX_SITE_OFFSET: u64 = 8;
    const ENTRY_LEN: usize = 12;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = false;

    /// `paciasp` is a landing pad too, but no site is behind one: there the return address would be signed already, and
    /// a replacement would sign it once more.
    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        let offset = location.wrapping_sub(function).cast_signed();
        if offset < 0 || offset.cast_unsigned() > Self::MAX_SITE_OFFSET {
            return Err(SiteError::TooFar { offset, limit: Self::MAX_SITE_OFFSET });
        }
        let code: &[u8; Self::ENTRY_LEN] = code.first_chunk().ok_or(SiteError::ShortCode)?;
        let word = |at: usize| insn(code, at).unwrap_or_default();
        let unknown = |at: usize| {
            Err(SiteError::UnknownCode { at: function + at as u64, found: word(at).to_le_bytes() })
        };

        let first = if LANDING_PADS.contains(&word(0)) { 4 } else { 0 };
        if !matches!(word(first), NOP | MOV_X9_LR | KPROBE) {
            return unknown(first);
        }
        let site = first + 4;
        if location != function + site as u64 || !(word(site) == NOP || is_bl(word(site))) {
            return unknown(site);
        }
        Ok(PatchSite { function, site: location, resume: location + 4 })
    }

    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, _return_stub: Addr) {
        regs.write(layout.pc, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: Addr = 0xffff_8000_0801_0008;
    const BL: u32 = 0x9400_1234;
    const PACIASP: u32 = 0xd503_233f;
    const BTI_C: u32 = 0xd503_245f;

    fn site(insns: [u32; 3], offset: u64) -> Result<PatchSite, SiteError> {
        let code: [u8; 12] = core::array::from_fn(|i| insns[i / 4].to_le_bytes()[i % 4]);
        Arm64::patch_site(FUNCTION, FUNCTION.wrapping_add(offset), &code)
    }

    fn found_at(offset: u64) -> Result<PatchSite, SiteError> {
        let site = FUNCTION + offset;
        Ok(PatchSite { function: FUNCTION, site, resume: site + 4 })
    }

    fn unknown(offset: u64, found: u32) -> Result<PatchSite, SiteError> {
        Err(SiteError::UnknownCode { at: FUNCTION + offset, found: found.to_le_bytes() })
    }

    #[test]
    fn a_site_is_the_second_of_two_instructions() {
        assert_eq!(site([NOP, NOP, PACIASP], 4), found_at(4), "as compiled");
        assert_eq!(site([MOV_X9_LR, NOP, PACIASP], 4), found_at(4), "disabled");
        assert_eq!(site([MOV_X9_LR, BL, PACIASP], 4), found_at(4), "enabled");
        assert_eq!(site([BTI_C, MOV_X9_LR, NOP], 8), found_at(8));
        assert_eq!(site([BTI_C, MOV_X9_LR, BL], 8), found_at(8));
        assert_eq!(site([KPROBE, NOP, PACIASP], 4), found_at(4), "disabled, with a kprobe");
        assert_eq!(site([BTI_C, KPROBE, BL], 8), found_at(8));
    }

    #[test]
    fn a_site_that_does_not_fit_the_code_is_refused() {
        assert_eq!(site([NOP, NOP, NOP], 8), unknown(4, NOP));
        assert_eq!(site([MOV_X9_LR, KPROBE, PACIASP], 4), unknown(4, KPROBE), "no kprobe can be on the site");
        assert_eq!(site([KPROBE + (1 << 5), NOP, PACIASP], 4), unknown(0, KPROBE + (1 << 5)), "another BRK");
        assert_eq!(site([BTI_C, MOV_X9_LR, BL], 4), unknown(8, BL));
        assert_eq!(site([PACIASP, MOV_X9_LR, BL], 8), unknown(0, PACIASP));
        assert_eq!(site([MOV_X9_LR, 0x1400_1234, NOP], 4), unknown(4, 0x1400_1234));
        assert_eq!(site([NOP, NOP, NOP], 12), Err(SiteError::TooFar { offset: 12, limit: 8 }));
        let before = 4_u64.wrapping_neg();
        assert_eq!(site([NOP, NOP, NOP], before), Err(SiteError::TooFar { offset: -4, limit: 8 }));
        assert_eq!(Arm64::patch_site(FUNCTION, FUNCTION + 4, &[0; 8]), Err(SiteError::ShortCode));
    }

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
        let layout = RegsLayout { size: 24, pc: 16, sp: 8, ra: 0, gprs: RegsLayout::ABSENT };
        let (lr, sp, pc) = (FUNCTION - 0x100, 0xffff_8000_0a00_3f00, FUNCTION + 8);
        let mut block = Block([lr, sp, pc]);
        assert_eq!(Arm64::resume_address(&block, &layout), pc);
        let target = 0xffff_8000_0100_2000;
        Arm64::redirect(&mut block, &layout, target, 0);
        assert_eq!(block.0, [lr, sp, target]);
    }
}
