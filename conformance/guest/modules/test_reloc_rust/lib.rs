// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Replacements in Rust that call functions which are not exported, of vmlinux and of a module.
#![no_std]

use core::ffi::{c_char, c_int, c_ulong, c_void};

unsafe extern "C" {
    fn seq_printf(file: *mut c_void, format: *const c_char, ...);
    fn kallsyms_lookup_name(name: *const c_char) -> c_ulong;
    fn hidden(value: c_int) -> c_int;
}
klp_patch::reloc_symbol!(hidden = test_reloc_target, reloc_hidden, 0);

unsafe extern "C" fn new_cmdline_show(file: *mut c_void, _: *mut c_void) -> c_int {
    let own = kallsyms_lookup_name as *const () as c_ulong;
    // SAFETY: a function of vmlinux of this type, and a C string.
    let found = unsafe { kallsyms_lookup_name(c"kallsyms_lookup_name".as_ptr()) } == own;
    // SAFETY: the seq_file that the kernel passes, and a format that the argument is for.
    unsafe { seq_printf(file, c"found %d\n".as_ptr(), c_int::from(found)) };
    0
}

unsafe extern "C" fn new_reloc_show(file: *mut c_void, _: *mut c_void) -> c_int {
    // SAFETY: a function of the module whose function this replaces, of this type.
    let value = unsafe { hidden(1000) };
    // SAFETY: as above.
    unsafe { seq_printf(file, c"value %d\n".as_ptr(), value) };
    0
}

klp_patch::patch! {
    description: "Live patch conformance: calls of what is not exported, in Rust",
    vmlinux { "cmdline_proc_show" => new_cmdline_show },
    module "test_reloc_target" { "reloc_show" => new_reloc_show },
}
