// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The text and data of patch modules, as far as it was written: calls to nowhere before that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use klp_core::branch::BranchTarget;
use klp_core::{Addr, FarBranch};

use super::arch::Toy;
use super::kernel::Sim;
use super::patches::PATCHES;

#[derive(Default)]
pub(crate) struct PatchMemory {
    written: RefCell<BTreeMap<Addr, u8>>,
    pub(super) out_of_reach: Cell<bool>,
}

/// A call, whose distance is 0.
fn unwritten(addr: Addr) -> u8 {
    if addr.is_multiple_of(4) { 2 } else { 0 }
}

impl PatchMemory {
    pub(super) fn has(addr: Addr) -> bool {
        addr >= PATCHES
    }

    pub(super) fn read(&self, addr: Addr, bytes: &mut [u8]) {
        for (addr, byte) in (addr..).zip(bytes) {
            *byte = self.written.borrow().get(&addr).copied().unwrap_or_else(|| unwritten(addr));
        }
    }

    pub(super) fn write(&self, addr: Addr, bytes: &[u8]) {
        self.written.borrow_mut().extend((addr..).zip(bytes.iter().copied()));
    }
}

impl<const STUB: bool> Sim<STUB> {
    /// From now on every branch of a patch to another object counts as out of reach, or none does.
    pub(crate) fn set_out_of_reach(&self, out_of_reach: bool) {
        self.0.patch_memory.out_of_reach.set(out_of_reach);
    }

    /// A doubleword of a patch.
    pub(crate) fn doubleword(&self, addr: Addr) -> u64 {
        let mut bytes = [0; 8];
        self.0.patch_memory.read(addr, &mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Where a call in a patch leads, and whether it goes there through a slot. A call that was not written: to itself.
    pub(crate) fn leads(&self, call: Addr) -> (Addr, bool) {
        let read = |addr| {
            let mut code = [0; 16];
            self.0.patch_memory.read(addr, &mut code);
            code
        };
        let branch = Toy::<STUB>::decode(call, &read(call)).expect("a call");
        let BranchTarget::Direct(to) = branch.target else { panic!("a direct one") };
        if to == call || !PatchMemory::has(to) {
            return (to, false);
        }
        (Toy::<STUB>::slot_target(to, &read(to)).expect("a slot"), true)
    }
}
