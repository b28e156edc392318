// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! System states as patches ask for them: `klp_get_state()`, `klp_get_prev_state()`
//! (`Documentation/livepatch/system-state.rst`).
//!
//! Who asks is a callback: it runs in the middle of what the engine does, with the lock held, and cannot ask the engine. So what
//! it may ask for is published before, in the patches' own memory.

use core::ffi::c_ulong;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::ffi::{KlpPatch, KlpState};
use crate::patch_abi;

/// The patch that is being enabled or disabled; null if there is none.
static IN_TRANSITION: AtomicPtr<KlpPatch> = AtomicPtr::new(ptr::null_mut());

/// Says which patches there are, those enabled later behind those enabled earlier, and which of them is in transition.
///
/// With the lock held; before callbacks run, and again before the module of one of the patches is given up. While a patch is in
/// transition none of them goes.
pub(crate) fn publish(
    order: impl Iterator<Item = NonNull<KlpPatch>>,
    in_transition: Option<NonNull<KlpPatch>>,
) {
    let mut older = ptr::null_mut();
    for patch in order {
        // SAFETY: we hold a reference on the patch's module; the field is ours.
        unsafe { older_of(patch) }.store(older, Ordering::Relaxed);
        older = patch.as_ptr();
    }
    IN_TRANSITION.store(in_transition.map_or(ptr::null_mut(), NonNull::as_ptr), Ordering::Release);
}

/// # Safety
///
/// The patch's module stays loaded for `'a`.
unsafe fn older_of<'a>(patch: NonNull<KlpPatch>) -> &'a AtomicPtr<KlpPatch> {
    // SAFETY: an aligned pointer that is used as an atomic only, here.
    unsafe { AtomicPtr::from_ptr(&raw mut (*patch.as_ptr()).older) }
}

/// # Safety
///
/// The patch's module stays loaded, its states end as [`patch_abi::states`] says.
unsafe fn state(patch: NonNull<KlpPatch>, id: c_ulong) -> Option<NonNull<KlpState>> {
    // SAFETY: the caller's promise. Only ids are looked at, which do not change.
    unsafe { patch_abi::states((*patch.as_ptr()).states).find(|state| (*state.as_ptr()).id == id) }
}

/// `klp_get_state()`
#[unsafe(no_mangle)]
extern "C" fn klp_rs_get_state(patch: *mut KlpPatch, id: c_ulong) -> *mut KlpState {
    // SAFETY: the caller's own patch, or one that it knows to be there.
    let found = NonNull::new(patch).and_then(|patch| unsafe { state(patch, id) });
    found.map_or(ptr::null_mut(), NonNull::as_ptr)
}

/// `klp_get_prev_state()`: `false` if no patch is in transition, so that there is no "previous".
#[unsafe(no_mangle)]
extern "C" fn klp_rs_get_prev_state(id: c_ulong, previous: *mut *mut KlpState) -> bool {
    let Some(patch) = NonNull::new(IN_TRANSITION.load(Ordering::Acquire)) else { return false };
    // SAFETY: patches that are published are known to the engine until others are; the caller runs during the transition.
    let older = |patch: &NonNull<KlpPatch>| NonNull::new(unsafe { older_of(*patch) }.load(Ordering::Relaxed));
    // SAFETY: as above.
    let found = core::iter::successors(older(&patch), older).find_map(|patch| unsafe { state(patch, id) });
    // SAFETY: the shim passes its own variable.
    unsafe { previous.write(found.map_or(ptr::null_mut(), NonNull::as_ptr)) };
    true
}
