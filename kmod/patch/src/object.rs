// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the callbacks of a patch are called with, and what they answer.

use core::ffi::{CStr, c_int, c_ulong, c_void};
use core::ptr::NonNull;

use crate::abi::KlpObject;
use crate::module::klp_sdk_get_prev_state;
use crate::state::State;

/// A kernel error number, positive (`ENOMEM` is 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub c_int);

impl Errno {
    /// Out of memory.
    pub const ENOMEM: Errno = Errno(12);
    /// Device or resource busy.
    pub const EBUSY: Errno = Errno(16);
    /// No such device.
    pub const ENODEV: Errno = Errno(19);
    /// Invalid argument.
    pub const EINVAL: Errno = Errno(22);

    /// As C functions return it; what is no error number is `EINVAL`, so that a refusal is never taken for a success.
    pub(crate) fn to_ret(self) -> c_int {
        const MAX_ERRNO: c_int = 4095;
        if (1..=MAX_ERRNO).contains(&self.0) { -self.0 } else { -Errno::EINVAL.0 }
    }
}

/// vmlinux or a module, as a callback sees it while it runs.
#[derive(Debug)]
#[repr(transparent)]
pub struct Object(KlpObject);

impl Object {
    /// # Safety
    ///
    /// `object` is what the engine called a callback with, and `'a` ends with it.
    #[doc(hidden)]
    pub unsafe fn of_callback<'a>(object: *mut KlpObject) -> &'a Object {
        // SAFETY: the caller's promise; the engine writes to objects between callbacks only.
        unsafe { &*object.cast::<Object>() }
    }

    /// The module's name; `None` is vmlinux.
    pub fn name(&self) -> Option<&CStr> {
        // SAFETY: `patch!` puts null or a C string there.
        NonNull::new(self.0.name.cast_mut()).map(|name| unsafe { CStr::from_ptr(name.as_ptr()) })
    }

    /// `struct module` of a module; null for vmlinux.
    pub fn module(&self) -> *mut c_void {
        self.0.module
    }

    /// Whether its functions are replaced now.
    pub fn is_patched(&self) -> bool {
        self.0.patched
    }

    /// A system state as the newest patch declares it of those that were enabled before the one in transition:
    /// `klp_get_prev_state()`. When a module comes or goes and no patch is in transition the kernel warns, and there is none.
    pub fn previous_state(&self, id: c_ulong) -> Option<State<'_>> {
        // SAFETY: a callback runs. The patches that are installed now stay at least until it ends.
        unsafe { State::new(klp_sdk_get_prev_state(id)) }
    }
}

#[doc(hidden)]
pub fn answer(result: Result<(), Errno>) -> c_int {
    result.map_or_else(Errno::to_ret, |()| 0)
}
