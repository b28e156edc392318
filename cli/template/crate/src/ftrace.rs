// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ftrace on __name__: the patch site and the trampoline's register block.

use klp_core::Addr;
use klp_core::ftrace::{FtraceRedirect, PatchSite, Registers, RegsLayout, RegsNeeded, SiteError};

use crate::__Type__;

impl FtraceRedirect for __Type__ {
    // Fact::PatchSite
    const MAX_SITE_OFFSET: u64 = 0;
    const ENTRY_LEN: usize = 0;
    // Fact::Registers
    const REGS: RegsNeeded = RegsNeeded::Full;
    // Fact::ReturnStub
    const RETURN_STUB: bool = false;

    /// Refused: no site is known.
    fn patch_site(_function: Addr, _location: Addr, _code: &[u8]) -> Result<PatchSite, SiteError> {
        Err(SiteError::ShortCode)
    }

    // Fact::Redirect
    fn redirect(_regs: &mut impl Registers, _layout: &RegsLayout, _target: Addr, _return_stub: Addr) {}
}
