// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branches of __name__.

use klp_core::Addr;
use klp_core::branch::{Branch, BranchError, BranchKind, Code, FarBranch, Reach};

use crate::__Type__;

impl FarBranch for __Type__ {
    // Fact::Reach
    const REACH: Reach = Reach { min: 0, max: 0, align: 1 };
    // Fact::Branch
    const BRANCH_LEN: usize = 0;
    // Fact::Slot
    const SLOT_LEN: usize = 0;
    const SLOT_LITERAL: usize = 0;

    /// Refused: nothing is in reach.
    fn encode(_kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        Err(BranchError::OutOfReach { distance: to.wrapping_sub(from).cast_signed() })
    }

    fn decode(_at: Addr, _code: &[u8]) -> Option<Branch> {
        None
    }

    // Fact::FollowsCall
    fn follows_call(_return_address: Addr, _before: &[u8]) -> bool {
        false
    }

    /// Refused: no code is known that continues at `target`.
    fn slot(_kind: BranchKind, at: Addr, _target: Addr) -> Result<Code, BranchError> {
        Err(BranchError::Misaligned { addr: at })
    }

    fn slot_target(_at: Addr, _code: &[u8]) -> Option<Addr> {
        None
    }
}
