// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What [`patch!`](crate::patch) needs to make a kernel module.

use core::ffi::{c_int, c_void};

use crate::abi::KlpPatch;

unsafe extern "C" {
    /// `struct module` of the module this is linked into; only its address is used.
    pub static mut __this_module: [c_void; 0];

    /// `klp_enable_patch()` of klp.ko.
    pub fn klp_sdk_enable_patch(patch: *mut KlpPatch) -> c_int;
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
