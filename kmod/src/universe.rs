// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The table of universes, as callbacks and tasks that leave the kernel find it.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use klp_core::universe::{Slot, Universes};

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Makes everybody look at these slots: see `Platform::show_universes`, whose caller keeps them where they are.
pub(crate) fn show(slots: &[Slot]) {
    // With no table, whoever has read the count already still finds the slots it belongs to. Else nobody looks meanwhile.
    if !slots.is_empty() {
        SLOTS.store(slots.as_ptr().cast_mut(), Ordering::Release);
    }
    COUNT.store(slots.len(), Ordering::Release);
}

/// The table that is shown.
///
/// # Safety
///
/// Preemption is off, and stays so while the table is used: whoever frees the slots waits for every CPU first.
pub(crate) unsafe fn shown<'a>() -> Universes<'a> {
    let count = COUNT.load(Ordering::Acquire);
    if count == 0 {
        return Universes::new(&[]);
    }
    // SAFETY: by the contract of `Platform::show_universes` these slots exist until every CPU was seen outside of sections
    // with preemption off after others were shown.
    Universes::new(unsafe { core::slice::from_raw_parts(SLOTS.load(Ordering::Acquire), count) })
}

/// The running task is about to return to user mode, and was asked to say so. Preemption is off.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_leaves(task: u64, waits: bool) {
    // SAFETY: preemption is off.
    let universes = unsafe { shown() };
    if let Some(listed) = universes.listed(task) {
        listed.left();
        if waits {
            listed.set_waiting(true);
        } else {
            listed.switch(universes.born());
        }
    }
}
