// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! System states: what a patch changes that outlives its functions (`Documentation/livepatch/system-state.rst`).

/// A system state, as a patch declares it (`struct klp_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemState {
    /// Names the state; unique among the states of a patch.
    pub id: u64,
    /// Version of the change; a later patch that knows the state must have the same version or a newer one.
    pub version: u32,
}
