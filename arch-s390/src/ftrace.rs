// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ftrace on s390: the hotpatch site and the trampoline's register block.
//!
//! Read in 6.1 and 6.12 (`arch/s390/kernel/ftrace.c`, `arch/s390/kernel/mcount.S`):
//!
//! - The site is the function's first instruction, six bytes (`MCOUNT_INSN_SIZE`). The compiler's form is `brcl 0,0`.
//!   On every machine in 6.1, and in 6.12 on those without the sequential-instruction-fetching facility, ftrace gives
//!   each site a *hotpatch trampoline* of its own at boot: `brcl 0,trampoline` while disabled, `jg trampoline` while
//!   enabled; only the mask changes. With the facility 6.12 writes `brasl %r0,trampoline` itself.
//! - Either way the trampoline is entered with r0 = the address behind the site. `ftrace_regs_entry` stores it as the
//!   block's `psw.addr`, r2 to r14 as they were, and as r15 the stack pointer of the patched function's caller. The PSW
//!   mask is valid only if all registers were asked for; r0 and r1 never are.
//! - `ftrace_common` loads the resume address from `psw.addr` and r2 to r15 from the block, and leaves by `br %r1`; if
//!   `orig_gpr2` was set, because the site has a direct call too, it goes there with the resume address in r0. So
//!   writing `psw.addr` suffices in either block ([`RegsNeeded::Arguments`]), and r14 stays the caller's return address.
//! - The only difference: 6.1's `struct ftrace_regs` is a `pt_regs`, 6.12's contains one; hence the layout is data.

use klp_core::Addr;
use klp_core::ftrace::{FtraceRedirect, PatchSite, Registers, RegsLayout, RegsNeeded, SiteError};

use crate::S390;

/// Length of the patch site.
const SITE_LEN: usize = 6;

/// First halfwords of a site: `brcl 0,…` (never taken), `jg …` (brcl 15), `brasl %r0,…` (PoP ch. 7, "Branch Relative
/// on Condition Long", "Branch Relative and Save Long").
const SITE_FORMS: [[u8; 2]; 3] = [[0xc0, 0x04], [0xc0, 0xf4], [0xc0, 0x05]];

impl FtraceRedirect for S390 {
    const MAX_SITE_OFFSET: u64 = 0;
    const ENTRY_LEN: usize = SITE_LEN;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = false;

    // arch/s390/kernel/ftrace.c, kprobe_ftrace_handler: the resume address becomes the site's end, whatever it was.
    const PROBE_UNDOES_REDIRECT: bool = true;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        let Some(&[a, b, c, d, _, _]) = code.first_chunk::<SITE_LEN>() else {
            return Err(SiteError::ShortCode);
        };
        if location != function {
            let offset = location.wrapping_sub(function).cast_signed();
            return Err(SiteError::TooFar { offset, limit: Self::MAX_SITE_OFFSET });
        }
        if !SITE_FORMS.contains(&[a, b]) {
            return Err(SiteError::UnknownCode { at: location, found: [a, b, c, d] });
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

    const F: Addr = 0x3ff_e000_1238;

    #[test]
    fn every_form_of_a_site() {
        let expected = Ok(PatchSite { function: F, site: F, resume: F + 6 });
        let forms = [
            [0xc0, 0x04, 0, 0, 0, 0],             // brcl 0,.: as compiled
            [0xc0, 0x04, 0x00, 0x12, 0x34, 0x56], // brcl 0,trampoline
            [0xc0, 0xf4, 0x00, 0x12, 0x34, 0x56], // jg trampoline
            [0xc0, 0x05, 0xff, 0xfe, 0xdc, 0xba], // brasl %r0,ftrace_caller
        ];
        for code in forms {
            assert_eq!(S390::patch_site(F, F, &code), expected, "{code:02x?}");
        }
    }

    #[test]
    fn other_code_is_refused_and_shown() {
        let others = [
            [0xeb, 0xbf, 0xf0, 0x70, 0x00, 0x24], // stmg: a prologue
            [0xc0, 0xe5, 0x00, 0x00, 0x00, 0x10], // brasl %r14: a call the compiler made
            [0xc0, 0x44, 0x00, 0x00, 0x00, 0x10], // jgl: a conditional branch
            [0xc0, 0x10, 0x00, 0x00, 0x00, 0x10], // larl
        ];
        for code in others {
            let found = [code[0], code[1], code[2], code[3]];
            assert_eq!(S390::patch_site(F, F, &code), Err(SiteError::UnknownCode { at: F, found }));
        }
    }

    #[test]
    fn a_site_elsewhere_belongs_to_another_function() {
        let nop = [0xc0, 0x04, 0, 0, 0, 0];
        for offset in [2, 6, -8_i64] {
            let location = F.wrapping_add_signed(offset);
            assert_eq!(S390::patch_site(F, location, &nop), Err(SiteError::TooFar { offset, limit: 0 }));
        }
        assert_eq!(S390::patch_site(F, F, &nop[..5]), Err(SiteError::ShortCode));
        assert_eq!(S390::function_of_probe(F, &[]), F, "a probe by name is at the function's address");
    }

    struct Block([u64; 24]);

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
        // As `pt_regs` has it: argument, PSW (mask, address), 16 registers.
        let layout = RegsLayout { size: 192, pc: 16, sp: 144, ra: 136, gprs: 24 };
        let mut block = Block(core::array::from_fn(|i| 0x1000 + i as u64));
        let mut expected = block.0;
        expected[2] = F;
        assert_eq!(S390::resume_address(&block, &layout), 0x1002);
        S390::redirect(&mut block, &layout, F, 0);
        assert_eq!(block.0, expected);
    }
}
