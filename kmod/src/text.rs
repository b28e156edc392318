// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the architecture's crate states of the kernel's text, for the C shim that looks it up (`shim/text.c`).

use core::ffi::{CStr, c_char};

use klp_core::Unwind;
use klp_core::unwind::Bounds;

use crate::Native;

/// A symbol; none behind the last.
type Name = Option<&'static c_char>;

#[unsafe(no_mangle)]
static klp_rs_entry_text: [[Name; 2]; Native::ENTRY_TEXT.len() + 1] = for_c(Native::ENTRY_TEXT);

#[unsafe(no_mangle)]
static klp_rs_ftrace_text: [[Name; 2]; Native::FTRACE_TEXT.len() + 1] = for_c(Native::FTRACE_TEXT);

/// The list as C reads it.
const fn for_c<const N: usize>(all: &'static [Bounds]) -> [[Name; 2]; N] {
    const fn name(name: &'static CStr) -> Name {
        // SAFETY: a CStr is the bytes from there up to its NUL, one at least, for as long as it lives: for ever.
        Some(unsafe { &*name.as_ptr() })
    }
    let (mut list, mut i) = ([[None; 2]; N], 0);
    while i < all.len() {
        list[i] = [name(all[i][0]), name(all[i][1])];
        i += 1;
    }
    list
}
