// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What [`patch!`](crate::patch) needs to make a kernel module.

use core::ffi::{c_int, c_ulong, c_void};

use crate::abi::{KlpPatch, KlpRelocations, KlpState};
use crate::shadow::{Construct, Destroy};

unsafe extern "C" {
    /// `struct module` of the module this is linked into; only its address is used.
    pub static mut __this_module: [c_void; 0];

    /// The patch that [`patch!`](crate::patch) declares.
    pub(crate) static mut __klp_patch: KlpPatch;

    /// `klp_enable_patch()` of klp.ko.
    pub fn klp_sdk_enable_patch(patch: *mut KlpPatch, relocations: *const KlpRelocations) -> c_int;

    pub(crate) fn klp_sdk_get_state(patch: *mut KlpPatch, id: c_ulong) -> *mut KlpState;
    pub(crate) fn klp_sdk_get_prev_state(id: c_ulong) -> *mut KlpState;

    pub(crate) fn klp_sdk_gfp(may_sleep: bool) -> u32;
    pub(crate) fn klp_sdk_shadow_get(obj: *mut c_void, id: c_ulong) -> *mut c_void;
    pub(crate) fn klp_sdk_shadow_alloc(
        obj: *mut c_void,
        id: c_ulong,
        size: usize,
        gfp: u32,
        ctor: Option<Construct>,
        ctor_data: *mut c_void,
    ) -> *mut c_void;
    pub(crate) fn klp_sdk_shadow_get_or_alloc(
        obj: *mut c_void,
        id: c_ulong,
        size: usize,
        gfp: u32,
        ctor: Option<Construct>,
        ctor_data: *mut c_void,
    ) -> *mut c_void;
    pub(crate) fn klp_sdk_shadow_free(obj: *mut c_void, id: c_ulong, dtor: Option<Destroy>);
    pub(crate) fn klp_sdk_shadow_free_all(id: c_ulong, dtor: Option<Destroy>);
}

/// The bytes of `text` as an array, for a section of their own.
///
/// # Panics
///
/// At compile time, if `N` is not the length of `text`.
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    assert!(text.len() == N);
    let mut array = [0; N];
    let mut i = 0;
    while i < N {
        array[i] = text.as_bytes()[i];
        i += 1;
    }
    array
}
