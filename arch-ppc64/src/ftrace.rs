// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The ftrace trampoline of ppc64, and why a redirected call goes through a stub.
//!
//! What `ftrace_caller` does around a callback (`arch/powerpc/kernel/trace/ftrace_mprofile.S`, later `ftrace_entry.S`):
//!
//! | register at the site | in the block | when the trampoline resumes |
//! |---|---|---|
//! | LR (behind the site) | `nip` | CTR = `nip`, and it is branched to |
//! | r0 (the caller's return address) | `link` | LR = r0 = `link` |
//! | r1 | `gpr[1]` | r1 as at the site; the block's value is not used |
//! | r2 | not in the block | r2 as at the site |
//! | r3 … r10 | `gpr[3]` … `gpr[10]` | from the block |
//!
//! A replacement that lives in a module has a TOC of its own. It is entered at its global entry point, which derives r2
//! from r12 (ELFv2, "Function Prologue"), and when it returns r2 must again be what it was at the site: a caller that
//! shares the patched function's TOC relies on it ("Register Roles"). Somebody has to keep r2 and the return address
//! meanwhile, and cannot do so on the machine stack, where the parameter save area has its fixed place ("The Stack
//! Frame").
//!
//! The callback could point `link` at code that puts r2 back, were it not for the function-graph tracer: its callback
//! sets `link` from the return address it was passed as an argument, whatever is in the block, and which callback runs
//! last depends on the order of registration. So nothing but `nip` is written here. It leads to the module's return
//! stub, which is entered after all callbacks with the final LR, keeps LR and r2 in the frame that the callback pushed,
//! calls the replacement, and puts both back when that returns. The kernel's own `livepatch_handler` takes the same
//! course, but exists only with `CONFIG_LIVEPATCH`; where it does, it does all this by itself, keeps its frames where
//! ours would be, and no stub may be used.
//!
//! As the stub takes r2 from the register and finds the replacement in its frame, the smaller of the two trampolines
//! is enough, which neither saves nor restores r11 and above.

use klp_core::Addr;
use klp_core::ftrace::{
    FtraceRedirect, PatchSite, Redirected, Registers, RegsLayout, RegsNeeded, ReturnFrame, SiteError,
};

use crate::{Ppc64, insn};

/// `nop`, that is `ori r0,r0,0`.
const NOP: u32 = 0x6000_0000;
/// `mflr r0`.
const MFLR_R0: u32 = 0x7c08_02a6;
/// `std r0,16(r1)`.
const STD_R0_LR_SAVE: u32 = 0xf801_0010;

/// Whether this instruction is `bl`.
const fn is_bl(insn: u32) -> bool {
    insn & 0xfc00_0003 == 0x4800_0001
}

/// Whether these two instructions derive the TOC pointer r2 from the global entry point's address in r12.
///
/// `addis r2,r12,x; addi r2,r2,y`, or `ld r2,x(r12); add r2,r2,r12` of the large code model (ELFv2, "Function
/// Prologue").
const fn is_toc_setup(first: u32, second: u32) -> bool {
    let near = first >> 16 == 0x3c4c && second >> 16 == 0x3842;
    let far = first & 0xffff_0003 == 0xe84c_0000 && second == 0x7c42_6214;
    near || far
}

impl FtraceRedirect for Ppc64 {
    const MAX_SITE_OFFSET: u64 = 16;
    const ENTRY_LEN: usize = 20;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = true;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        let offset = location.wrapping_sub(function).cast_signed();
        if offset < 0 || offset.cast_unsigned() > Self::MAX_SITE_OFFSET {
            return Err(SiteError::TooFar { offset, limit: Self::MAX_SITE_OFFSET });
        }
        let code: &[u8; Self::ENTRY_LEN] = code.first_chunk().ok_or(SiteError::ShortCode)?;
        let word = |at: usize| insn(code, at).unwrap_or_default();
        let unknown = |at: usize| {
            let found = core::array::from_fn(|i| code.get(at + i).copied().unwrap_or_default());
            Err(SiteError::UnknownCode { at: function + at as u64, found })
        };

        let mut at = if is_toc_setup(word(0), word(4)) { 8 } else { 0 };
        if word(at) != MFLR_R0 {
            return unknown(at);
        }
        at += 4;
        if word(at) == STD_R0_LR_SAVE {
            at += 4;
        }
        if location != function + at as u64 || !(word(at) == NOP || is_bl(word(at))) {
            return unknown(at);
        }
        Ok(PatchSite { function, site: location, resume: location + 4 })
    }

    /// A kprobe by name lies at the function's ftrace site, or else at its local entry point (`kprobe_lookup_name`,
    /// `arch/powerpc/kernel/kprobes.c`). A function is called through its global entry point.
    fn function_of_probe(found: Addr, code_before: &[u8]) -> Addr {
        let mut len = code_before.len();
        let ends_in = |len: usize, want: u32| len >= 4 && insn(code_before, len - 4) == Some(want);
        if ends_in(len, MFLR_R0) {
            len -= 4;
        } else if ends_in(len, STD_R0_LR_SAVE) && ends_in(len - 4, MFLR_R0) {
            len -= 8;
        }
        if len >= 8
            && let (Some(first), Some(second)) = (insn(code_before, len - 8), insn(code_before, len - 4))
            && is_toc_setup(first, second)
        {
            len -= 8;
        }
        found - (code_before.len() - len) as u64
    }

    /// `return_stub` is zero on a kernel whose trampoline itself switches the TOC when `nip` was changed
    /// (`CONFIG_LIVEPATCH`): then `target` is entered directly.
    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, return_stub: Addr) {
        regs.write(layout.pc, if return_stub == 0 { target } else { return_stub });
    }

    /// `context` tells the stub where to go; on entry it puts r2 in its place, and LR in the place of `ra`, which
    /// differs from the block's if a tracer wants to see the return.
    fn return_frame(
        regs: &impl Registers,
        layout: &RegsLayout,
        target: Addr,
        return_stub: Addr,
    ) -> Redirected {
        if return_stub == 0 {
            return Redirected::Direct;
        }
        let (ra, sp) = (regs.read(layout.ra), regs.read(layout.sp));
        Redirected::ThroughStub(ReturnFrame { ra, sp, context: target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: Addr = 0xc000_0000_0025_46e0;

    /// As gcc 12 compiles a function that uses its TOC, before ftrace has seen it.
    const WITH_TOC: [u32; 5] = [0x3c4c_00ef, 0x3842_3a20, MFLR_R0, 0x4be1_83b1, 0xf821_ffc1];
    const WITHOUT_TOC: [u32; 5] = [MFLR_R0, NOP, 0x3863_0001, 0x7c63_07b4, 0x4e80_0020];

    fn bytes(insns: &[u32; 5]) -> [u8; 20] {
        core::array::from_fn(|i| insns[i / 4].to_le_bytes()[i % 4])
    }

    fn site(insns: &[u32; 5], offset: u64) -> Result<PatchSite, SiteError> {
        Ppc64::patch_site(FUNCTION, FUNCTION.wrapping_add(offset), &bytes(insns))
    }

    fn found_at(offset: u64) -> Result<PatchSite, SiteError> {
        let site = FUNCTION + offset;
        Ok(PatchSite { function: FUNCTION, site, resume: site + 4 })
    }

    #[test]
    fn a_site_is_behind_mflr_and_the_global_entry_if_there_is_one() {
        assert_eq!(site(&WITH_TOC, 12), found_at(12));
        assert_eq!(site(&WITHOUT_TOC, 4), found_at(4));
        let mut disabled = WITH_TOC;
        disabled[3] = NOP;
        assert_eq!(site(&disabled, 12), found_at(12));
        let older = [WITH_TOC[0], WITH_TOC[1], MFLR_R0, STD_R0_LR_SAVE, NOP];
        assert_eq!(site(&older, 16), found_at(16));
        let large_model = [0xe84c_fff8, 0x7c42_6214, MFLR_R0, NOP, NOP];
        assert_eq!(site(&large_model, 12), found_at(12));
    }

    #[test]
    fn a_site_that_does_not_fit_the_code_is_refused() {
        assert!(matches!(site(&WITH_TOC, 4), Err(SiteError::UnknownCode { .. })), "inside the global entry");
        assert_eq!(site(&WITH_TOC, 20), Err(SiteError::TooFar { offset: 20, limit: 16 }));
        let before = 4_u64.wrapping_neg();
        assert_eq!(site(&WITH_TOC, before), Err(SiteError::TooFar { offset: -4, limit: 16 }));
        let mut jump = WITH_TOC;
        jump[3] = 0x4be1_83b0;
        let found = jump[3].to_le_bytes();
        assert_eq!(site(&jump, 12), Err(SiteError::UnknownCode { at: FUNCTION + 12, found }));
        let mut no_mflr = WITH_TOC;
        no_mflr[2] = NOP;
        assert!(matches!(site(&no_mflr, 12), Err(SiteError::UnknownCode { .. })));
        let short = &bytes(&WITH_TOC)[..16];
        assert_eq!(Ppc64::patch_site(FUNCTION, FUNCTION + 12, short), Err(SiteError::ShortCode));
    }

    #[test]
    fn a_probed_address_leads_back_to_the_global_entry() {
        let code = bytes(&WITH_TOC);
        assert_eq!(Ppc64::function_of_probe(FUNCTION + 12, &code[..12]), FUNCTION, "ftrace site");
        assert_eq!(Ppc64::function_of_probe(FUNCTION + 8, &code[..8]), FUNCTION, "local entry");
        let older = bytes(&[WITH_TOC[0], WITH_TOC[1], MFLR_R0, STD_R0_LR_SAVE, NOP]);
        assert_eq!(Ppc64::function_of_probe(FUNCTION + 16, &older[..16]), FUNCTION);

        // Behind another function's end: blr, traceback table.
        let no_toc = bytes(&[0x4e80_0020, 0, 0x0100_0000, 0x180, MFLR_R0]);
        assert_eq!(Ppc64::function_of_probe(FUNCTION + 4, &no_toc), FUNCTION);
        assert_eq!(Ppc64::function_of_probe(FUNCTION, &no_toc[..16]), FUNCTION, "not traceable");
        assert_eq!(Ppc64::function_of_probe(FUNCTION, &[]), FUNCTION);
    }

    /// nip, r1, LR.
    struct Block([u64; 3]);
    const LAYOUT: RegsLayout = RegsLayout { size: 24, pc: 0, sp: 8, ra: 16, gprs: RegsLayout::ABSENT };

    impl Registers for Block {
        fn read(&self, offset: u16) -> u64 {
            self.0[usize::from(offset) / 8]
        }
        fn write(&mut self, offset: u16, value: u64) {
            self.0[usize::from(offset) / 8] = value;
        }
    }

    #[test]
    fn a_redirect_changes_nip_alone_and_leaves_the_rest_to_the_stub() {
        let (nip, r1, lr) = (FUNCTION + 16, 0xc000_0000_1234_5e80, 0xc000_0000_0030_0004);
        let (target, stub) = (0xc008_0000_0100_0000, 0xc008_0000_0200_0000);
        let mut block = Block([nip, r1, lr]);
        assert_eq!(
            Ppc64::return_frame(&block, &LAYOUT, target, stub),
            Redirected::ThroughStub(ReturnFrame { ra: lr, sp: r1, context: target })
        );
        Ppc64::redirect(&mut block, &LAYOUT, target, stub);
        assert_eq!(block.0, [stub, r1, lr]);
        assert_eq!(Ppc64::resume_address(&block, &LAYOUT), stub);
    }

    #[test]
    fn without_a_stub_the_kernel_switches_the_toc() {
        let mut block = Block([FUNCTION + 16, 0x1000, 0x2000]);
        assert_eq!(Ppc64::return_frame(&block, &LAYOUT, 0x9000, 0), Redirected::Direct);
        Ppc64::redirect(&mut block, &LAYOUT, 0x9000, 0);
        assert_eq!(block.0, [0x9000, 0x1000, 0x2000]);
    }
}
