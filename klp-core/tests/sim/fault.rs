// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Failures on demand: the nth time that something can fail, it does, once.
//!
//! Per thread, like the tests themselves, since a list knows no platform.

use std::cell::Cell;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An allocation: a list that grows, a new hook.
    Allocation,
    /// Arming a hook: ftrace refuses.
    Arm,
    /// A pre-patch callback: it refuses.
    PrePatch,
    /// A cheaper entry: the function stays with the callback.
    Cheaper,
    /// Going back to the callback: ftrace refuses.
    Back,
}

thread_local! {
    static PENDING: Cell<Option<(Fault, u32)>> = const { Cell::new(None) };
    static OPPORTUNITIES: Cell<[u32; 5]> = const { Cell::new([0; 5]) };
}

/// Lets the `nth` opportunity from now on fail, the first being 1.
pub(crate) fn fail_nth(fault: Fault, nth: u32) {
    PENDING.set(Some((fault, nth)));
}

/// Lets nothing fail any more. True if a failure was asked for and did not happen.
pub(crate) fn take_pending() -> bool {
    PENDING.take().is_some()
}

/// Whether a failure was asked for and did not happen yet.
pub(crate) fn is_pending() -> bool {
    PENDING.get().is_some()
}

/// How often something could fail on this thread so far.
pub(crate) fn opportunities(fault: Fault) -> u32 {
    OPPORTUNITIES.get()[fault as usize]
}

/// Whether this opportunity is the one that fails.
pub(crate) fn due(fault: Fault) -> bool {
    let mut opportunities = OPPORTUNITIES.get();
    opportunities[fault as usize] += 1;
    OPPORTUNITIES.set(opportunities);
    match PENDING.get() {
        Some((pending, 1)) if pending == fault => {
            PENDING.set(None);
            true
        }
        Some((pending, left)) if pending == fault => {
            PENDING.set(Some((pending, left - 1)));
            false
        }
        _ => false,
    }
}
