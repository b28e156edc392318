// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patch that uses everything there is in Rust: the same things that test_shadow and test_states do in C.
#![no_std]

use core::ffi::{c_char, c_int, c_ulong, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use klp_patch::{Errno, Gfp, Object, Shadow};

unsafe extern "C" {
    fn _printk(format: *const c_char, ...) -> c_int;
    fn seq_printf(file: *mut c_void, format: *const c_char, ...);
}

fn say(what: &core::ffi::CStr, object: &Object) {
    let name = object.name().unwrap_or(c"vmlinux");
    // SAFETY: the format takes three strings.
    unsafe {
        _printk(
            c"test_api_rust: %s %s%s\n".as_ptr(),
            what.as_ptr(),
            name.as_ptr(),
            if object.module().is_null() { c"".as_ptr() } else { c" with its module".as_ptr() },
        );
    }
}

const STATE: c_ulong = 0x52;
const NOT_OURS: c_ulong = 0x53;

/// How often something was done. Dropped under a lock, hence the atomic.
struct Count(AtomicU32);

static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Drop for Count {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: no other patch uses the id; a Count points at nothing.
static COUNTS: Shadow<Count> = unsafe { Shadow::new(0x5275) };

fn pre_patch(object: &Object) -> Result<(), Errno> {
    say(c"pre_patch", object);
    let state = klp_patch::state(STATE).ok_or(Errno::EINVAL)?;
    if state.id() != STATE || state.version() != 3 || klp_patch::state(NOT_OURS).is_some() {
        return Err(Errno::EINVAL);
    }
    let previous = object.previous_state(STATE);
    // SAFETY: the format takes a number.
    unsafe {
        _printk(
            c"test_api_rust: previous version %u\n".as_ptr(),
            previous.map_or(0, |previous| previous.version()),
        );
    }
    state.set_data((&raw const COUNTS).cast_mut().cast());
    Ok(())
}

fn post_patch(object: &Object) {
    say(c"post_patch", object);
}

fn pre_unpatch(object: &Object) {
    say(c"pre_unpatch", object);
}

fn post_unpatch(object: &Object) {
    say(c"post_unpatch", object);
}

/// When no replacement runs any more.
fn clean_up(object: &Object) {
    let kept =
        klp_patch::state(STATE).is_some_and(|state| state.data() == (&raw const COUNTS).cast_mut().cast());
    // SAFETY: references are used by replacements only.
    unsafe { COUNTS.free_all() };
    // SAFETY: the format takes two numbers.
    unsafe {
        _printk(
            c"test_api_rust: dropped %u, data %u\n".as_ptr(),
            DROPPED.load(Ordering::Relaxed),
            u32::from(kept),
        );
    }
    post_unpatch(object);
}

/// Shows how often the file was read, before what it shows without the patch.
unsafe extern "C" fn counting_show(file: *mut c_void, data: *mut c_void) -> c_int {
    let object = (&raw const DROPPED).cast();
    let first = COUNTS.get(object).is_none();
    let refused = COUNTS.get_or_alloc(core::ptr::null(), Gfp::Atomic, || Err(Errno::EBUSY));
    let count = match COUNTS.get_or_alloc(object, Gfp::Kernel, || Ok(Count(AtomicU32::new(100)))) {
        Some(count) => count.0.fetch_add(1, Ordering::Relaxed),
        None => 0,
    };
    // A second one, of another object.
    if first {
        COUNTS.alloc((&raw const COUNTS).cast(), Gfp::Atomic, || Ok(Count(AtomicU32::new(0))));
    }
    // SAFETY: the reader's file; the format takes two numbers. The original is called as the replacement was.
    unsafe {
        seq_printf(file, c"%u %u ".as_ptr(), count, u32::from(refused.is_some()));
        cmdline_proc_show(file, data)
    }
}

unsafe extern "C" fn seven() -> c_int {
    7
}

klp_patch::original!(CMDLINE: fn cmdline_proc_show(file: *mut c_void, data: *mut c_void) -> c_int);

klp_patch::patch! {
    description: "Live patch conformance: the API in Rust",
    replace: false,
    consistency: in_time,
    states: [STATE version 3, 0x54 version 1],
    vmlinux {
        pre_patch: pre_patch,
        post_patch: post_patch,
        pre_unpatch: pre_unpatch,
        post_unpatch: clean_up,
        "cmdline_proc_show" => counting_show calling CMDLINE,
    },
    module "test_target" {
        post_patch: post_patch,
        post_unpatch: post_unpatch,
        "test_value" => seven,
    },
}
