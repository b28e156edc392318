// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! System states: what a patch changes in the system and that its functions do not hold
//! (`Documentation/livepatch/system-state.rst`).

use core::ffi::{c_uint, c_ulong, c_void};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::abi::KlpState;
use crate::module::{__klp_patch, klp_sdk_get_state};

/// A system state, as a patch declares it: `struct klp_state`.
#[derive(Clone, Copy, Debug)]
pub struct State<'a>(NonNull<KlpState>, PhantomData<&'a KlpState>);

impl State<'_> {
    /// # Safety
    ///
    /// Null, or the state of a patch that stays loaded for as long as the result lives.
    pub(crate) unsafe fn new<'a>(state: *mut KlpState) -> Option<State<'a>> {
        NonNull::new(state).map(|state| State(state, PhantomData))
    }

    /// What is changed.
    pub fn id(self) -> c_ulong {
        // SAFETY: by `new`'s contract; nobody writes to it.
        unsafe { (*self.0.as_ptr()).id }
    }

    /// How.
    pub fn version(self) -> c_uint {
        // SAFETY: by `new`'s contract; nobody writes to it.
        unsafe { (*self.0.as_ptr()).version }
    }

    /// What the patch keeps with it: null until [`set_data`](Self::set_data).
    pub fn data(self) -> *mut c_void {
        self.atomic_data().load(Ordering::Acquire)
    }

    /// Keeps something with it, which a later patch takes over or frees.
    pub fn set_data(self, data: *mut c_void) {
        self.atomic_data().store(data, Ordering::Release);
    }

    fn atomic_data(&self) -> &AtomicPtr<c_void> {
        // SAFETY: by `new`'s contract; an aligned pointer, which Rust code uses as an atomic only.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.0.as_ptr()).data) }
    }
}

/// One of the states that this module's [`patch!`](crate::patch) declares: `klp_get_state()`.
pub fn state(id: c_ulong) -> Option<State<'static>> {
    // SAFETY: the patch of this module, which lives as long as this code.
    unsafe { State::new(klp_sdk_get_state(&raw mut __klp_patch, id)) }
}
