// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Modules that come and go: `shim/modules.c` calls this.

use core::ffi::{CStr, c_char, c_int};

use klp_core::platform::Errno;
use klp_core::{Engine, Error};

use crate::control::{Guard, to_ret};
use crate::ffi;
use crate::platform::{Kernel, Name};

/// As `MODULE_STATE_COMING` and so on: the module's functions are there, its init function has returned, it has run for the
/// last time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ModuleEvent {
    Coming,
    Live,
    Going,
}

/// Does something for the module of this name, with the lock held, and lets patch modules see the result.
///
/// # Safety
///
/// `name` is a C string that lives during the call.
unsafe fn for_module(
    name: *const c_char,
    event: ModuleEvent,
    work: impl FnOnce(&mut Engine<Kernel>, &str) -> Result<(), Error<Name>>,
) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    let Ok(text) = name.to_str() else { return 0 };
    let mut guard = Guard::lock();
    let control = guard.control();
    // SAFETY: a C string; the module's own notifier calls us, so it is there.
    let module = unsafe { ffi::klp_shim_find_module(name.as_ptr()) };
    // SAFETY: the lock is held, the module there.
    if event == ModuleEvent::Coming && unsafe { ffi::klp_shim_module_comes(module) } != 0 {
        return -Errno::ENOMEM.0;
    }
    if event != ModuleEvent::Going {
        control.set_module(name, module);
    }
    let result = work(&mut control.engine, text);
    if event == ModuleEvent::Going || result.is_err() {
        control.set_module(name, core::ptr::null_mut());
    }
    if event != ModuleEvent::Coming || result.is_err() {
        // SAFETY: the lock is held, the module there.
        unsafe { ffi::klp_shim_module_came(module) };
    }
    control.write_back();
    control.look_soon();
    to_ret(result.map_err(|error| error.errno()))
}

/// A module is about to run; an error refuses it. `name` is a C string that lives during the call.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_module_coming(name: *const c_char) -> c_int {
    // SAFETY: the notifier passes the module's name.
    unsafe { for_module(name, ModuleEvent::Coming, |engine, name| engine.object_coming(&Kernel, name)) }
}

/// A module's init function has run. As [`klp_rs_module_coming`].
#[unsafe(no_mangle)]
extern "C" fn klp_rs_module_live(name: *const c_char) {
    // SAFETY: the notifier passes the module's name.
    unsafe {
        for_module(name, ModuleEvent::Live, |engine, name| {
            engine.object_live(&Kernel, name);
            Ok(())
        })
    };
}

/// A module has run for the last time. As [`klp_rs_module_coming`].
#[unsafe(no_mangle)]
extern "C" fn klp_rs_module_going(name: *const c_char) {
    // SAFETY: the notifier passes the module's name.
    unsafe {
        for_module(name, ModuleEvent::Going, |engine, name| {
            engine.object_going(&Kernel, name);
            Ok(())
        })
    };
}
