// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ftrace on x86_64: the fentry site and the trampoline's register block.
//!
//! Read in 6.1 and 6.12, where all of this is the same:
//!
//! - The site is the 5-byte `call __fentry__` that `-mfentry` emits before the prologue, `MCOUNT_INSN_SIZE` in
//!   `arch/x86/include/asm/ftrace.h`. It is at the function's address, or behind the landing pad
//!   (`FTRACE_MCOUNT_MAX_OFFSET` there is the landing pad's length).
//! - `struct ftrace_regs` is a `pt_regs`. For callbacks that do not ask for all registers, `ftrace_caller` in
//!   `arch/x86/kernel/ftrace_64.S` fills in rax, rcx, rdx, rsi, rdi, r8, r9, rbp, ip and sp, and zeroes orig_rax and cs;
//!   rbx, r10 to r15, flags and ss hold garbage. All but sp, orig_rax and cs are restored.
//! - Both `ftrace_caller` and `ftrace_regs_caller` copy the block's `ip` over their own return address and leave by
//!   `RET`. So writing `ip` suffices in either block ([`RegsNeeded::Arguments`]), and the replacement needs no landing
//!   pad: indirect-branch tracking watches indirect jumps and calls, not returns (SDM vol. 1, "Control-flow Enforcement
//!   Technology", "Indirect Branch Tracking").
//! - The return address of the patched function is on the stack at `sp`, one word below where the caller's own stack
//!   pointer was before its call.

use klp_core::ftrace::{FtraceRedirect, PatchSite, Registers, RegsLayout, RegsNeeded, SiteError};
use klp_core::{Addr, branch::FarBranch};

use crate::{ENDBR64, X86_64};

/// Length of the patch site.
const SITE_LEN: usize = X86_64::BRANCH_LEN;

/// The 5-byte NOP of a disabled site (`x86_nops[5]`, `arch/x86/include/asm/nops.h`; SDM vol. 2, "NOP", recommended
/// multi-byte sequences). The compiler's `-mnop-mcount` and objtool write the same one.
const NOP5: [u8; SITE_LEN] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// What stands in place of `endbr64` where nothing calls the function indirectly: the kernel *seals* such a function
/// at boot (`gen_endbr_poison` in `arch/x86/include/asm/ibt.h`): `osp nopl (%rax)`, from 6.15 on `nopl -42(%rax)`.
const SEALED: [[u8; 4]; 2] = [[0x66, 0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0xd6]];

pub(crate) fn is_landing_pad(code: &[u8]) -> bool {
    code == ENDBR64 || SEALED.iter().any(|sealed| code == sealed)
}

/// Whether these bytes are a form ftrace gives a site: the NOP, a call of a trampoline, a jump to a direct-call
/// trampoline (CONFIG_DYNAMIC_FTRACE_WITH_JMP), or any of these while it is being rewritten.
///
/// Of a site being rewritten the first byte is a breakpoint for a moment and the rest may be of either form
/// (`text_poke_bp_batch` in `arch/x86/kernel/alternative.c`). Since ftrace itself compares the bytes before it writes,
/// nothing depends on what they will be.
fn is_site(code: &[u8]) -> bool {
    code == NOP5 || matches!(code[0], 0xe8 | 0xe9 | 0xcc)
}

impl FtraceRedirect for X86_64 {
    const MAX_SITE_OFFSET: u64 = ENDBR64.len() as u64;
    const ENTRY_LEN: usize = ENDBR64.len() + SITE_LEN;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = false;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        if code.len() < Self::ENTRY_LEN {
            return Err(SiteError::ShortCode);
        }
        let (pad, site) = code[..Self::ENTRY_LEN].split_at(ENDBR64.len());
        let unknown = |at: Addr, found: &[u8]| SiteError::UnknownCode {
            at,
            found: [found[0], found[1], found[2], found[3]],
        };
        let (site, pad) = match location.wrapping_sub(function) {
            0 => (&code[..SITE_LEN], None),
            Self::MAX_SITE_OFFSET => (site, Some(pad)),
            // Nothing is four bytes long here but a landing pad, so 1 to 3 is as implausible as more.
            offset => {
                return Err(SiteError::TooFar { offset: offset.cast_signed(), limit: Self::MAX_SITE_OFFSET });
            }
        };
        if let Some(pad) = pad
            && !is_landing_pad(pad)
        {
            return Err(unknown(function, pad));
        }
        if !is_site(site) {
            return Err(unknown(location, site));
        }
        Ok(PatchSite { function, site: location, resume: location.wrapping_add(SITE_LEN as u64) })
    }

    /// A kprobe placed by name is moved behind the landing pad (`arch_adjust_kprobe_addr` in
    /// `arch/x86/kernel/kprobes/core.c`).
    fn function_of_probe(found: Addr, code_before: &[u8]) -> Addr {
        match code_before.last_chunk::<{ ENDBR64.len() }>() {
            Some(pad) if is_landing_pad(pad) => found.wrapping_sub(ENDBR64.len() as u64),
            _ => found,
        }
    }

    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, _return_stub: Addr) {
        regs.write(layout.pc, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: Addr = 0xffff_ffff_8123_4560;
    const CALL: [u8; 5] = [0xe8, 0x10, 0x20, 0x30, 0x40];
    const PUSH_RBP_MOV: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

    fn code(parts: &[&[u8]]) -> [u8; X86_64::ENTRY_LEN] {
        let mut code = [0x90; X86_64::ENTRY_LEN];
        let mut at = 0;
        for part in parts {
            code[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        code
    }

    #[test]
    fn site_without_landing_pad() {
        let expected = PatchSite { function: F, site: F, resume: F + 5 };
        assert_eq!(X86_64::patch_site(F, F, &code(&[&NOP5])), Ok(expected));
        assert_eq!(X86_64::patch_site(F, F, &code(&[&CALL, &PUSH_RBP_MOV])), Ok(expected));
    }

    #[test]
    fn site_behind_a_landing_pad_sealed_or_not() {
        let expected = Ok(PatchSite { function: F, site: F + 4, resume: F + 9 });
        for pad in [ENDBR64, SEALED[0], SEALED[1]] {
            for site in [NOP5, CALL, [0xe9, 1, 2, 3, 4], [0xcc, 0x1f, 0x44, 0, 0]] {
                assert_eq!(X86_64::patch_site(F, F + 4, &code(&[&pad, &site])), expected);
            }
        }
    }

    #[test]
    fn code_that_is_no_site_is_refused_and_shown() {
        let prologue = code(&[&PUSH_RBP_MOV]);
        assert_eq!(
            X86_64::patch_site(F, F, &prologue),
            Err(SiteError::UnknownCode { at: F, found: PUSH_RBP_MOV })
        );
        assert_eq!(
            X86_64::patch_site(F, F + 4, &code(&[&PUSH_RBP_MOV, &NOP5])),
            Err(SiteError::UnknownCode { at: F, found: PUSH_RBP_MOV }),
            "a site at +4 is trusted only behind a landing pad"
        );
        assert_eq!(
            X86_64::patch_site(F, F + 4, &code(&[&ENDBR64, &PUSH_RBP_MOV])),
            Err(SiteError::UnknownCode { at: F + 4, found: PUSH_RBP_MOV })
        );
        // The other vendor-specific 5-byte NOPs have not been written by any kernel with this ftrace.
        assert!(X86_64::patch_site(F, F, &code(&[&[0x66, 0x66, 0x66, 0x66, 0x90]])).is_err());
    }

    #[test]
    fn a_site_elsewhere_belongs_to_another_function() {
        for offset in [1, 2, 3, 5, 16, -16_i64] {
            assert_eq!(
                X86_64::patch_site(F, F.wrapping_add_signed(offset), &code(&[&ENDBR64, &NOP5])),
                Err(SiteError::TooFar { offset, limit: 4 })
            );
        }
        assert_eq!(X86_64::patch_site(F, F, &NOP5), Err(SiteError::ShortCode));
    }

    #[test]
    fn a_probe_behind_a_landing_pad_is_taken_back_to_the_function() {
        assert_eq!(X86_64::function_of_probe(F + 4, &ENDBR64), F);
        assert_eq!(X86_64::function_of_probe(F + 4, &SEALED[0]), F);
        assert_eq!(X86_64::function_of_probe(F, &[0x90; 4]), F);
        assert_eq!(X86_64::function_of_probe(F, &[]), F);
    }

    /// `pt_regs` of a callback that did not ask for all registers, as words.
    struct Block([u64; 21]);

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
        const ABSENT: u16 = RegsLayout::ABSENT;
        let layout = RegsLayout { size: 168, pc: 128, sp: 152, ra: ABSENT, gprs: ABSENT };
        let mut block = Block(core::array::from_fn(|i| 0x1000 + i as u64));
        let mut expected = block.0;
        expected[16] = F;
        assert_eq!(X86_64::resume_address(&block, &layout), 0x1010);
        X86_64::redirect(&mut block, &layout, F, 0);
        assert_eq!(block.0, expected);
        assert_eq!(X86_64::resume_address(&block, &layout), F);
    }
}
