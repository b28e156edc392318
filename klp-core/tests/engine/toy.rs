// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The simulated architecture keeps the promises of the traits, as far as the simulation relies on them.

use klp_core::branch::{BranchError, BranchKind, BranchTarget};
use klp_core::ftrace::SiteError;
use klp_core::{FarBranch, FtraceRedirect};

use crate::sim::arch::{NOP, PAD, RET, Toy};

type Arch = Toy<false>;

#[test]
fn what_encode_makes_decode_reads_back() {
    let at: u64 = 0xffff_ffff_8100_0000;
    for kind in [BranchKind::Call, BranchKind::Jump] {
        for distance in [0, 4, -4, Arch::REACH.min, Arch::REACH.max] {
            let to = at + 0x800_0000;
            let from = to.wrapping_add_signed(-distance);
            let code = Arch::encode(kind, from, to).expect("within reach");
            let branch = Arch::decode(from, code.as_bytes()).expect("a branch");
            assert_eq!((branch.kind, branch.target), (kind, BranchTarget::Direct(to)));
            assert_eq!(Arch::follows_call(from + 4, code.as_bytes()), kind == BranchKind::Call);
        }
        let distance = Arch::REACH.max + 4;
        let far = Arch::encode(kind, at, at.wrapping_add_signed(distance));
        assert_eq!(far, Err(BranchError::OutOfReach { distance }));
    }
    let slot = Arch::slot(BranchKind::Call, at, 0x1234).expect("aligned");
    assert_eq!(Arch::slot_target(at, slot.as_bytes()), Some(0x1234));
    assert_eq!(Arch::decode(at, &RET), None);
}

#[test]
fn a_site_is_a_nop_or_a_call_behind_at_most_a_landing_pad() {
    let at = 0x1000;
    let site =
        |location, code: [[u8; 4]; 2]| Arch::patch_site(at, location, &code.concat()).map(|site| site.site);
    let call = |from| -> [u8; 4] {
        let code = Arch::encode(BranchKind::Call, from, 0x2000).expect("within reach");
        code.as_bytes().try_into().expect("one word")
    };
    assert_eq!(site(at, [NOP, RET]), Ok(at));
    assert_eq!(site(at, [call(at), RET]), Ok(at));
    assert_eq!(site(at + 4, [PAD, NOP]), Ok(at + 4));
    assert_eq!(site(at + 4, [PAD, call(at + 4)]), Ok(at + 4));
    assert_eq!(site(at + 4, [RET, NOP]), Err(SiteError::UnknownCode { at, found: RET }));
    assert_eq!(site(at, [RET, NOP]), Err(SiteError::UnknownCode { at, found: RET }));
    assert_eq!(site(at - 4, [NOP, RET]), Err(SiteError::TooFar { offset: -4, limit: 4 }));
    assert_eq!(Arch::patch_site(at, at, &NOP), Err(SiteError::ShortCode));
}
