// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The running kernel as the engine sees it.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::fmt::{self, Write};
use core::ptr::NonNull;

use klp_core::ftrace::RegsNeeded;
use klp_core::platform::{Callback, Errno, Holder, Hook, Level, NoMemory, Platform, Range};
use klp_core::redirect::FuncRedirect;
use klp_core::{Addr, FtraceRedirect};

use crate::alloc::{self, KList};
use crate::ffi::{self, KlpObject};
use crate::{Native, tasks};

/// The kernel this module is loaded into. Its methods are called with the engine's lock held, in process context.
pub(crate) struct Kernel;

/// A name in a patch module's memory.
#[derive(Clone, Copy)]
pub(crate) struct Name(NonNull<c_char>);

impl Name {
    /// # Safety
    ///
    /// `name` is a C string that stays as it is for as long as the patch or module it belongs to is known to us.
    pub(crate) unsafe fn new(name: *const c_char) -> Option<Name> {
        NonNull::new(name.cast_mut()).map(Name)
    }

    /// As C takes it.
    pub(crate) fn as_ptr(self) -> *const c_char {
        self.0.as_ptr()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        // SAFETY: by `Name::new`'s contract this is a C string that lives long enough.
        unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_str().unwrap_or("<name is not UTF-8>")
    }
}

/// An ftrace hook: `struct klp_hook` in the shim.
pub(crate) struct FtraceHook(NonNull<c_void>);

impl Hook for FtraceHook {
    fn redirect(&self) -> &FuncRedirect {
        // SAFETY: the shim keeps REDIRECT_SIZE aligned bytes for it in the hook; they were zero when the hook was made,
        // which is a valid FuncRedirect (all its fields are atomic integers), and live as long as the hook.
        unsafe { &*ffi::klp_shim_hook_redirect(self.0.as_ptr()).cast() }
    }

    fn arm(&mut self) -> Result<(), Errno> {
        // SAFETY: the hook is initialised and owned by us.
        errno(unsafe { ffi::klp_shim_hook_arm(self.0.as_ptr()) })
    }

    fn disarm(&mut self) {
        // SAFETY: as in `arm`; the shim ignores a hook that is not armed.
        unsafe { ffi::klp_shim_hook_disarm(self.0.as_ptr()) };
    }
}

impl Drop for FtraceHook {
    fn drop(&mut self) {
        self.disarm();
        // SAFETY: the memory came from `alloc`, and a disarmed hook is not used by any CPU.
        unsafe { alloc::free(self.0) };
    }
}

/// 0 or a negative error number, as kernel functions return it.
pub(crate) fn errno(ret: c_int) -> Result<(), Errno> {
    if ret == 0 { Ok(()) } else { Err(Errno(ret.wrapping_neg())) }
}

impl Platform for Kernel {
    type Arch = Native;
    type Name = Name;
    type List<T> = KList<T>;
    type Hook = FtraceHook;
    type Callbacks = *mut KlpObject;

    fn is_loaded(&self, object: Name) -> bool {
        // SAFETY: a C string, see `Name::new`.
        unsafe { ffi::klp_shim_object_loaded(object.as_ptr()) }
    }

    fn for_each_symbol(&self, object: Option<Name>, name: Name, found: &mut dyn FnMut(Addr) -> bool) {
        extern "C" fn each(context: *mut c_void, addr: u64) -> bool {
            // SAFETY: `context` is the `found` below, borrowed for as long as the call lasts.
            let found = unsafe { &mut *context.cast::<&mut dyn FnMut(Addr) -> bool>() };
            found(addr)
        }
        let mut found = found;
        let context = (&raw mut found).cast();
        let object = object.map_or(core::ptr::null(), Name::as_ptr);
        // SAFETY: C strings, or NULL for vmlinux; `each` is only called during the call, with this context.
        unsafe { ffi::klp_shim_each_symbol(object, name.as_ptr(), each, context) };
    }

    fn ftrace_location(&self, function: Addr) -> Option<Addr> {
        // SAFETY: takes any address.
        let site = unsafe { ffi::klp_shim_ftrace_location(function) };
        (site != 0).then_some(site)
    }

    fn has_probe(&self, site: Addr) -> bool {
        // SAFETY: takes any address.
        unsafe { ffi::klp_shim_has_probe(site) }
    }

    fn read_text(&self, addr: Addr, code: &mut [u8]) -> bool {
        // SAFETY: the destination is ours; the source may be any address, a fault is an answer.
        unsafe { ffi::klp_shim_read(code.as_mut_ptr().cast(), addr, code.len()) }
    }

    fn new_hook(&self, site: Addr) -> Result<FtraceHook, NoMemory> {
        let full_regs = Native::REGS == RegsNeeded::Full;
        // SAFETY: a constant.
        let hook = alloc::alloc(unsafe { ffi::klp_shim_hook_size() })?;
        // SAFETY: zeroed memory of the size that the shim asked for.
        unsafe { ffi::klp_shim_hook_init(hook.as_ptr(), site, full_regs) };
        Ok(FtraceHook(hook))
    }

    fn callback(&self, object: *mut KlpObject, which: Callback) -> Result<(), Errno> {
        let which = match which {
            Callback::PrePatch => 0,
            Callback::PostPatch => 1,
            Callback::PreUnpatch => 2,
            Callback::PostUnpatch => 3,
        };
        // SAFETY: the object belongs to a patch module that stays as long as the engine knows the patch.
        errno(unsafe { ffi::klp_shim_object_callback(object, which) })
    }

    fn find_holder(&self, text: &[Range]) -> Option<Holder> {
        tasks::find_holder(text)
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        let mut text = Line::default();
        let _ = text.write_fmt(line);
        let level: c_uint = match level {
            Level::Error => 0,
            Level::Warning => 1,
            Level::Notice => 2,
        };
        // SAFETY: `Line` ends in a zero byte.
        unsafe { ffi::klp_shim_log(level, text.bytes.as_ptr().cast()) };
    }
}

/// One line for the kernel log; what does not fit is cut off. The kernel's own lines end after 1 KiB.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: [0; 512], len: 0 }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.len;
        let text = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
        Ok(())
    }
}
