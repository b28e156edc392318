// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Replaces the function behind /proc/cmdline, and shows what the original says too.
#![no_std]

use core::ffi::{c_char, c_int, c_void};

/// `struct seq_file`; only passed on.
type SeqFile = c_void;

unsafe extern "C" {
    fn seq_printf(file: *mut SeqFile, format: *const c_char, ...);
}

klp_patch::original!(ORIGINAL: fn cmdline_proc_show(file: *mut SeqFile, data: *mut c_void) -> c_int);

unsafe extern "C" fn patched_cmdline_proc_show(file: *mut SeqFile, data: *mut c_void) -> c_int {
    // SAFETY: whoever calls cmdline_proc_show passes a seq_file; the format takes one string.
    unsafe {
        seq_printf(file, c"%s\n".as_ptr(), c"this has been live patched, in Rust".as_ptr());
        cmdline_proc_show(file, data)
    }
}

klp_patch::patch! {
    description: "Live patch example in Rust: /proc/cmdline",
    vmlinux { "cmdline_proc_show" => patched_cmdline_proc_show calling ORIGINAL },
}
