// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The running kernel as the engine sees it.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::fmt::{self, Write};
use core::ptr::NonNull;

use klp_core::engine::code::Code;
use klp_core::ftrace::{PatchSite, RegsNeeded};
use klp_core::patch::{Leave, Object};
use klp_core::patchable::{Declared, Room};
use klp_core::platform::{
    Callback, Entry, Errno, Hold, Holder, Hook, Level, NoMemory, Platform, Range, TaskId,
};
use klp_core::redirect::FuncRedirect;
use klp_core::universe::Slot;
use klp_core::{Addr, FtraceRedirect};

use crate::alloc::{self, KList};
use crate::ffi::{self, KlpObject};
use crate::slot::SlotHook;
use crate::stacks::klp_rs_report_stack;
use crate::{Native, patch_abi, tasks, universe, write_text};

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

/// What sends calls of one function elsewhere.
pub(crate) enum KernelHook {
    /// At a site of ftrace's.
    Ftrace(FtraceHook),
    /// At a slot of the function's own.
    Slot(SlotHook),
}

impl Hook for KernelHook {
    fn redirect(&self) -> &FuncRedirect {
        match self {
            KernelHook::Ftrace(hook) => hook.redirect(),
            KernelHook::Slot(hook) => hook.redirect(),
        }
    }

    fn arm(&mut self) -> Result<(), Errno> {
        match self {
            KernelHook::Ftrace(hook) => hook.arm(),
            KernelHook::Slot(hook) => hook.arm(),
        }
    }

    fn disarm(&mut self) {
        match self {
            KernelHook::Ftrace(hook) => hook.disarm(),
            KernelHook::Slot(hook) => hook.disarm(),
        }
    }

    fn entry(&self) -> Entry {
        match self {
            KernelHook::Ftrace(hook) => hook.entry(),
            KernelHook::Slot(hook) => hook.entry(),
        }
    }

    fn enter_cheaply(&mut self, target: Addr) {
        match self {
            KernelHook::Ftrace(hook) => hook.enter_cheaply(target),
            KernelHook::Slot(hook) => hook.enter_cheaply(target),
        }
    }

    fn enter_by_callback(&mut self) -> Result<(), Errno> {
        match self {
            KernelHook::Ftrace(hook) => hook.enter_by_callback(),
            KernelHook::Slot(hook) => hook.enter_by_callback(),
        }
    }
}

/// An ftrace hook: `struct klp_hook` in the shim.
pub(crate) struct FtraceHook(NonNull<c_void>);

impl FtraceHook {
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

    fn entry(&self) -> Entry {
        // SAFETY: as in `arm`.
        match unsafe { ffi::klp_shim_hook_entry(self.0.as_ptr()) } {
            ffi::ENTRY_DIRECT => Entry::Direct,
            _ => Entry::Callback,
        }
    }

    fn enter_cheaply(&mut self, target: Addr) {
        // SAFETY: as in `arm`; the target is a replacement, whose module stays as long as the engine sends calls there.
        unsafe { ffi::klp_shim_hook_enter_cheaply(self.0.as_ptr(), target) };
    }

    fn enter_by_callback(&mut self) -> Result<(), Errno> {
        // SAFETY: as in `arm`.
        errno(unsafe { ffi::klp_shim_hook_enter_by_callback(self.0.as_ptr()) })
    }
}

impl Drop for FtraceHook {
    fn drop(&mut self) {
        self.disarm();
        // SAFETY: the memory came from `alloc`, and a disarmed hook is not used by any CPU.
        unsafe { alloc::free(self.0) };
    }
}

/// Calls `found` with the symbols of that name, functions or all.
fn each_symbol(object: Option<Name>, name: Name, data: bool, found: &mut dyn FnMut(Addr) -> bool) {
    extern "C" fn each(context: *mut c_void, addr: u64) -> bool {
        // SAFETY: `context` is the `found` below, borrowed for as long as the call lasts.
        let found = unsafe { &mut *context.cast::<&mut dyn FnMut(Addr) -> bool>() };
        found(addr)
    }
    let mut found = found;
    let context = (&raw mut found).cast();
    let object = object.map_or(core::ptr::null(), Name::as_ptr);
    // SAFETY: C strings, or NULL for vmlinux; `each` is only called during the call, with this context.
    unsafe { ffi::klp_shim_each_symbol(object, name.as_ptr(), data, each, context) };
}

/// 0 or a negative error number, as kernel functions return it.
pub(crate) fn errno(ret: c_int) -> Result<(), Errno> {
    if ret == 0 { Ok(()) } else { Err(Errno(ret.wrapping_neg())) }
}

impl Platform for Kernel {
    type Arch = Native;
    type Name = Name;
    type List<T> = KList<T>;
    type Hook = KernelHook;
    type Callbacks = *mut KlpObject;
    type Slots = KList<Slot>;

    fn is_loaded(&self, object: Name) -> bool {
        // SAFETY: a C string, see `Name::new`.
        unsafe { ffi::klp_shim_object_loaded(object.as_ptr()) }
    }

    fn for_each_symbol(&self, object: Option<Name>, name: Name, found: &mut dyn FnMut(Addr) -> bool) {
        each_symbol(object, name, false, found);
    }

    fn for_each_symbol_of_any_kind(
        &self,
        object: Option<Name>,
        name: Name,
        found: &mut dyn FnMut(Addr) -> bool,
    ) {
        each_symbol(object, name, true, found);
    }

    fn lists_data(&self) -> bool {
        // SAFETY: a constant.
        unsafe { ffi::klp_shim_lists_data }
    }

    fn write_patch(&self, writes: &[klp_core::platform::Write]) -> Result<(), NoMemory> {
        write_text::write(writes)
    }

    fn out_of_reach(&self) -> bool {
        // SAFETY: a byte, 0 or 1, that the kernel's parameter code writes. Volatile, since the writer is a user of sysfs.
        unsafe { (&raw const ffi::klp_shim_out_of_reach).read_volatile() }
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

    fn declared_room(&self, object: Option<Name>) -> Option<Declared> {
        let mut found = None;
        // SAFETY: a C string constant.
        let name = unsafe { Name::new(c"klp_patchable".as_ptr()) }?;
        // Of vmlinux, which cannot say so, nobody is asked.
        self.for_each_symbol_of_any_kind(Some(object?), name, &mut |addr| {
            let mut declared = [0; size_of::<Declared>()];
            if self.read_text(addr, &mut declared) {
                let [a, b, c, d] = declared;
                found =
                    Some(Declared { before: u16::from_ne_bytes([a, b]), after: u16::from_ne_bytes([c, d]) });
            }
            false
        });
        found
    }

    fn new_hook(&self, site: PatchSite, room: Option<Room>) -> Result<KernelHook, NoMemory> {
        if let Some(room) = room {
            return Ok(KernelHook::Slot(SlotHook::new(site, room)?));
        }
        let full_regs = Native::REGS == RegsNeeded::Full;
        // SAFETY: a constant.
        let hook = alloc::alloc(unsafe { ffi::klp_shim_hook_size() })?;
        // SAFETY: zeroed memory of the size that the shim asked for.
        unsafe { ffi::klp_shim_hook_init(hook.as_ptr(), site.site, full_regs) };
        Ok(KernelHook::Ftrace(FtraceHook(hook)))
    }

    fn callback(&self, object: *mut KlpObject, which: Callback) -> Result<(), Errno> {
        let which = match which {
            Callback::PrePatch => ffi::PRE_PATCH,
            Callback::PostPatch => ffi::POST_PATCH,
            Callback::PreUnpatch => ffi::PRE_UNPATCH,
            Callback::PostUnpatch => ffi::POST_UNPATCH,
        };
        // SAFETY: the object belongs to a patch module that stays as long as the engine knows the patch.
        errno(unsafe { ffi::klp_shim_object_callback(object, which) })
    }

    fn show_object(&self, callbacks: *mut KlpObject, object: &Object<Kernel>) {
        if let Some(declared) = NonNull::new(callbacks) {
            // SAFETY: the object belongs to a patch module that stays as long as the engine knows the patch, and was read from
            // this; the engine's lock is held.
            unsafe { patch_abi::write_object(declared, object) };
        }
    }

    fn each_part(&self, object: Option<Name>, name: Name, function: Addr, found: &mut dyn FnMut(Range)) {
        let part = |start| {
            // SAFETY: takes any address.
            Range { start, size: unsafe { ffi::klp_shim_function_size(start) } }
        };
        found(part(function));
        // The compiler's name for what is unlikely to run (gcc's -freorder-blocks-and-partition).
        let mut cold = Text::<MAX_SYMBOL>::default();
        let _ = write!(cold, "{}.cold", name.as_ref());
        // SAFETY: a `Text` ends in a zero byte, and it outlives the call that uses the name.
        if let Some(cold) = unsafe { Name::new(cold.bytes.as_ptr().cast()) } {
            self.for_each_symbol(object, cold, &mut |start| {
                found(part(start));
                true
            });
        }
    }

    fn is_own(&self, object: Name) -> bool {
        // SAFETY: a C string, see `Name::new`.
        unsafe { ffi::klp_shim_is_own(object.as_ptr()) }
    }

    fn now_ms(&self) -> u64 {
        // SAFETY: callable in any context.
        unsafe { ffi::klp_shim_now_ms() }
    }

    fn signal_after_ms(&self) -> u64 {
        // SAFETY: an aligned integer that the kernel's parameter code writes as one word. Volatile, since the writer is a
        // user of sysfs.
        u64::from(unsafe { (&raw const ffi::klp_shim_signal_after_ms).read_volatile() })
    }

    fn stop_machine(&self, work: &mut dyn FnMut()) {
        tasks::stop_machine(work);
        klp_rs_report_stack();
    }

    fn task_count(&self) -> usize {
        // SAFETY: callable in process context.
        unsafe { ffi::klp_shim_task_count() }
    }

    fn each_task(&self, each: &mut dyn FnMut(TaskId) -> bool) {
        tasks::each_task(each);
    }

    fn pin(&self, task: TaskId) {
        // SAFETY: with the machine stopped the task exists.
        unsafe { ffi::klp_shim_pin(tasks::pointer(task)) };
    }

    fn unpin(&self, task: TaskId) {
        // SAFETY: the engine has pinned it.
        unsafe { ffi::klp_shim_unpin(tasks::pointer(task)) };
    }

    fn check(
        &self,
        task: TaskId,
        code: Code<'_>,
        leave: Leave,
        switch: &mut dyn FnMut(),
    ) -> Result<(), Hold> {
        tasks::check(task, code, leave, switch)
    }

    fn check_stopped(&self, task: TaskId, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
        tasks::check_stopped(task, code, leave)
    }

    fn wake(&self, task: TaskId) {
        // SAFETY: the engine has pinned it.
        unsafe { ffi::klp_shim_wake(tasks::pointer(task)) };
    }

    fn ask_to_leave(&self, task: TaskId) -> Result<(), NoMemory> {
        // SAFETY: the engine has pinned it.
        errno(unsafe { ffi::klp_shim_ask_to_leave(tasks::pointer(task)) }).map_err(|_| NoMemory)
    }

    fn is_way_out(&self, name: Name) -> bool {
        universe::is_way_out(name.as_ref())
    }

    fn ask_no_more(&self, task: TaskId) {
        // SAFETY: the engine has pinned it.
        unsafe { ffi::klp_shim_ask_no_more(tasks::pointer(task)) };
    }

    fn gather(&self, wait: bool) {
        // SAFETY: callable in process context.
        unsafe { ffi::klp_shim_gather(wait) };
    }

    fn new_slots(&self, count: usize) -> Result<KList<Slot>, NoMemory> {
        // SAFETY: a slot is atomic integers, and free when they are zero.
        unsafe { KList::zeroed(count) }
    }

    fn show_universes(&self, slots: Option<&KList<Slot>>) {
        universe::show(slots.map_or(&[], |slots| slots));
    }

    fn find_holder(&self, text: &[Range]) -> Option<Holder> {
        tasks::find_holder(text)
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        let mut text = Text::<LINE>::default();
        let _ = text.write_fmt(line);
        let mut number: c_uint = match level {
            Level::Error => ffi::LOG_ERROR,
            Level::Warning => ffi::LOG_WARNING,
            Level::Notice => ffi::LOG_NOTICE,
            Level::Debug => ffi::LOG_DEBUG,
            Level::Hint => ffi::LOG_HINT,
        };
        for byte in &mut text.bytes {
            if *byte == b'\n' {
                *byte = 0;
            }
        }
        for line in text.bytes[..text.len].split_inclusive(|byte| *byte == 0) {
            // SAFETY: each line ends in a zero byte: its own, or the one behind the text.
            unsafe { ffi::klp_shim_log(number, line.as_ptr().cast()) };
            number = ffi::LOG_HINT;
        }
    }
}

/// Longest text for the log. The kernel's own lines end after 1 KiB.
const LINE: usize = 512;
/// KSYM_NAME_LEN of `include/linux/kallsyms.h`, in the newer kernels.
const MAX_SYMBOL: usize = 512;

/// Text that ends in a zero byte; what does not fit is cut off.
pub(crate) struct Text<const SIZE: usize> {
    bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Default for Text<SIZE> {
    fn default() -> Text<SIZE> {
        Text { bytes: [0; SIZE], len: 0 }
    }
}

impl<const SIZE: usize> Write for Text<SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.len;
        let text = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
        Ok(())
    }
}
