// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What users ask of the engine: enable, disable, sysfs.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::NonNull;

use klp_core::patch::{Patch, PatchId, State};
use klp_core::platform::{Entry, Errno, Hold, Level, List, Platform};
use klp_core::universe::Universe;
use klp_core::{Engine, Error};

use crate::alloc::KList;
use crate::ffi::{self, KlpIndex, KlpPatch, KlpRelocations};
use crate::patch_abi;
use crate::platform::{Kernel, KernelHook, Name};
use crate::sysfs::Directory;
use crate::tasks;
use crate::{shadow, states};

/// The engine, and what belongs to each patch outside of it.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) engine: Engine<Kernel>,
    modules: KList<PatchModule>,
    /// Milliseconds until the next look at the transition and at draining patches.
    backoff: u32,
}

/// A patch module that is known to the engine. We hold a reference on the module.
struct PatchModule {
    id: PatchId,
    patch: NonNull<KlpPatch>,
    directory: Directory,
    holder_shown: bool,
}

const FIRST_LOOK_MS: u32 = 10;
const LAST_LOOK_MS: u32 = 1_000;
/// A transition that takes longer says where to read why. The kernel says nothing of the kind, so not too soon.
const SHOW_BLOCKED_MS: u64 = 10_000;

struct Locked(UnsafeCell<Option<Control>>);
// SAFETY: the content is reached through `Guard` only, which holds the shim's mutex.
unsafe impl Sync for Locked {}
static CONTROL: Locked = Locked(UnsafeCell::new(None));

/// The shim's mutex, held.
pub(crate) struct Guard;

impl Guard {
    pub(crate) fn lock() -> Guard {
        // SAFETY: process context; no caller holds it already (it is taken in entry points only).
        unsafe { ffi::klp_shim_lock() };
        tasks::forget_seen();
        Guard
    }

    pub(crate) fn control(&mut self) -> &mut Control {
        // SAFETY: the mutex is held as long as `self` exists, and `self` is borrowed mutably.
        unsafe { (*CONTROL.0.get()).get_or_insert_with(Control::default) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: taken in `lock`.
        unsafe { ffi::klp_shim_unlock() };
    }
}

pub(crate) fn to_ret(result: Result<(), Errno>) -> c_int {
    result.map_or_else(|errno| -errno.0, |()| 0)
}

impl Control {
    fn enable_new(
        &mut self,
        patch: NonNull<KlpPatch>,
        relocations: *const KlpRelocations,
        unused: &mut Option<Directory>,
    ) -> Result<(), Error<Name>> {
        let id = self.take_in(patch, relocations, unused).inspect_err(say)?;
        let enabled = self.in_transition(id, |control| control.enable(id));
        if let Err(error) = enabled {
            *unused = Some(self.modules.remove(self.modules.len() - 1).directory);
            self.engine.remove(&Kernel, id)?;
            // Functions of other patches may have gone back to the callback.
            self.look_soon();
            return Err(error);
        }
        self.write_back();
        self.look_soon();
        Ok(())
    }

    /// Switches the entries of all functions that are entered through slots of their own off and on again, `times` each.
    fn flip_often(&self, times: u32) -> Result<(), Errno> {
        for func in
            self.engine.patches().iter().flat_map(|patch| &*patch.objects).flat_map(|object| &*object.funcs)
        {
            if let Some(KernelHook::Slot(hook)) = self.engine.hook(func) {
                hook.flip_often(times)?;
            }
        }
        Ok(())
    }

    fn enable(&mut self, id: PatchId) -> Result<(), Error<Name>> {
        self.engine.enable(&Kernel, id).inspect_err(|error| {
            // The engine has logged the others.
            if let Error::InTransition { .. } | Error::Busy = error {
                say(error);
            }
        })
    }

    /// Takes a new patch into the engine, with its directory.
    fn take_in(
        &mut self,
        patch: NonNull<KlpPatch>,
        relocations: *const KlpRelocations,
        unused: &mut Option<Directory>,
    ) -> Result<PatchId, Error<Name>> {
        // SAFETY: known patches' modules stay, and the new patch's is calling us.
        if self.modules.iter().any(|known| unsafe { known.patch.as_ref().module == patch.as_ref().module }) {
            return Err(Error::AlreadyKnown);
        }
        self.modules.try_reserve(1)?;
        // SAFETY: `klp_enable_patch` is called by the module that declares the patch; we hold a reference on it.
        let read = unsafe { patch_abi::read(patch, relocations) }?;
        let id = self.engine.add(&Kernel, read)?;
        let directory = match Directory::new(self.engine.patch(id)?) {
            Ok(directory) => directory,
            Err((_, partial)) => {
                *unused = Some(partial);
                self.engine.remove(&Kernel, id)?;
                return Err(Error::NoMemory);
            }
        };
        // Before anything is redirected, so that replacements find the originals.
        // SAFETY: as above.
        unsafe {
            patch_abi::write_back(patch, self.engine.patch(id)?);
            patch_abi::set_loaded_modules(patch);
        }
        self.modules.try_push(PatchModule { id, patch, directory, holder_shown: false })?;
        Ok(id)
    }

    /// Lets the patch modules see what became of their patches.
    pub(crate) fn write_back(&mut self) {
        for module in self.modules.iter() {
            if let Ok(known) = self.engine.patch(module.id) {
                // SAFETY: we hold a reference on the patch's module, and the lock.
                unsafe { patch_abi::write_back(module.patch, known) };
            }
        }
    }

    /// Lets callbacks see the module of this name, or that it is gone.
    pub(crate) fn set_module(&self, name: &CStr, module: *mut c_void) {
        for known in self.modules.iter() {
            // SAFETY: we hold a reference on the patch's module, and the lock.
            unsafe { patch_abi::set_module(known.patch, name, module) };
        }
    }

    /// Does something that may run callbacks of a patch: for them it is the one in transition. See [`states`].
    fn in_transition<R>(&mut self, id: PatchId, work: impl FnOnce(&mut Control) -> R) -> R {
        self.publish(Some(id));
        let result = work(self);
        self.publish(self.engine.in_transition().map(|(id, _)| id));
        result
    }

    fn publish(&self, in_transition: Option<PatchId>) {
        let module = |id| self.modules.iter().find(|module| module.id == id).map(|module| module.patch);
        let there =
            |patch: &&Patch<Kernel>| patch.state() != State::Draining || in_transition == Some(patch.id());
        let order = self.engine.patches().iter().filter(there).filter_map(|patch| module(patch.id()));
        states::publish(order, in_transition.and_then(module));
    }

    /// Whether anything is to be looked at again.
    fn is_busy(&self) -> bool {
        self.engine.in_transition().is_some()
            || self.engine.may_enter_cheaply()
            || self.engine.patches().iter().any(|patch| patch.state() == State::Draining)
    }

    /// Starts looking at the transition, at draining patches and at functions that may be entered by a cheaper way, if there are
    /// any.
    pub(crate) fn look_soon(&mut self) {
        if self.is_busy() {
            self.backoff = FIRST_LOOK_MS;
            // SAFETY: process context.
            unsafe { ffi::klp_shim_schedule_work(0) };
        }
    }

    /// Takes a patch that can go out of the engine.
    fn next_drained(&mut self) -> Option<PatchModule> {
        for index in 0..self.modules.len() {
            let id = self.modules[index].id;
            let Ok(held) = self.engine.drain(&Kernel, id) else { continue };
            let Some(holder) = held else {
                let _ = self.in_transition(id, |control| control.engine.remove(&Kernel, id));
                return Some(self.modules.remove(index));
            };
            if self.backoff >= LAST_LOOK_MS && !self.modules[index].holder_shown {
                self.modules[index].holder_shown = true;
                if let Ok(patch) = self.engine.patch(id) {
                    let comm = CStr::from_bytes_until_nul(&holder.comm).unwrap_or(c"?");
                    Kernel.log(
                        Level::Hint,
                        format_args!(
                            "'{}': task {} ({}) may still run it at {:#x}, it stays loaded until then",
                            patch.name.as_ref(),
                            holder.pid,
                            comm.to_str().unwrap_or("?"),
                            holder.addr
                        ),
                    );
                }
            }
        }
        None
    }

    /// Says once where to read who holds a transition up that takes long.
    fn show_blocked(&mut self) {
        let Some((id, _)) = self.engine.in_transition() else { return };
        let Some(module) = self.modules.iter_mut().find(|module| module.id == id && !module.holder_shown)
        else {
            return;
        };
        if self.engine.transition_age(&Kernel) < SHOW_BLOCKED_MS {
            return;
        }
        module.holder_shown = true;
        let mut count = 0;
        self.engine.each_blocked(&Kernel, &mut |_, _, _| count += 1);
        // Without the patch's name: the kernel's selftests compare every line that has it. There is but one transition.
        Kernel.log(
            Level::Hint,
            format_args!(
                "tasks hold the transition up ({count}), see 'blocked' of the patch in /sys/kernel/klp"
            ),
        );
    }

    /// As the kernel's `klp_patch.enabled`: where the patch is, or is on its way to.
    fn is_enabled(&self, id: PatchId) -> Result<bool, Error<Name>> {
        let patch = self.engine.patch(id)?;
        Ok(match self.engine.in_transition() {
            Some((other, goal)) if other == id => goal == Universe::Patched,
            _ => patch.state() == State::Enabled,
        })
    }

    fn attr(&self, index: KlpIndex, attr: c_uint) -> Result<u64, Errno> {
        let id = PatchId(index.patch);
        let patch = self.engine.patch(id).map_err(|error| error.errno())?;
        let changing = self.engine.in_transition().is_some_and(|(other, _)| other == id);
        Ok(match attr {
            ATTR_ENABLED => u64::from(self.is_enabled(id).map_err(|error| error.errno())?),
            ATTR_TRANSITION => u64::from(changing || patch.state() == State::Draining),
            ATTR_REPLACE => u64::from(patch.replace),
            ATTR_STACK_ORDER => {
                let order = self.engine.patches().iter().position(|patch| patch.id() == id);
                order.map_or(0, |index| index as u64 + 1)
            }
            ATTR_PATCHED => {
                let object = patch.objects.get(index.object as usize).ok_or(Errno::ENOENT)?;
                u64::from(object.is_patched())
            }
            ATTR_ENTRY => {
                let object = patch.objects.get(index.object as usize).ok_or(Errno::ENOENT)?;
                let func = object.funcs.get(index.func as usize).ok_or(Errno::ENOENT)?;
                u64::from(match self.engine.entry(func).filter(|_| object.is_patched()) {
                    None => ffi::ENTRY_NONE,
                    Some(Entry::Direct) => ffi::ENTRY_DIRECT,
                    Some(Entry::Slot) => ffi::ENTRY_SLOT,
                    Some(Entry::Callback) => ffi::ENTRY_CALLBACK,
                })
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// As `enabled_store` in `kernel/livepatch/core.c`.
    fn set_enabled(&mut self, id: PatchId, enable: bool) -> Result<(), Errno> {
        if enable == self.is_enabled(id).map_err(|error| error.errno())? {
            return Err(Errno::EINVAL);
        }
        let changed = self.in_transition(id, |control| match control.engine.in_transition() {
            Some((other, _)) if other == id => control.engine.reverse(&Kernel, id).inspect_err(say),
            _ if enable => control.enable(id),
            _ => control.engine.disable(&Kernel, id).inspect_err(say),
        });
        self.changed(id, changed)
    }

    /// As `force_store` in `kernel/livepatch/core.c`.
    fn force(&mut self, id: PatchId) -> Result<(), Errno> {
        if self.engine.in_transition().is_none_or(|(other, _)| other != id) {
            return Err(Errno::EINVAL);
        }
        let forced = self.in_transition(id, |control| control.engine.force(&Kernel, id));
        self.changed(id, forced)
    }

    fn changed(&mut self, id: PatchId, result: Result<(), Error<Name>>) -> Result<(), Errno> {
        // Even if it was refused, functions may have gone back to the callback.
        self.look_soon();
        result.map_err(|error| error.errno())?;
        if let Some(module) = self.modules.iter_mut().find(|module| module.id == id) {
            module.holder_shown = false;
        }
        self.write_back();
        Ok(())
    }

    /// Writes a line for each task that holds the transition of a patch up; how many bytes.
    fn blocked(&self, id: PatchId, lines: &mut [u8]) -> usize {
        if self.engine.in_transition().is_none_or(|(other, _)| other != id) {
            return 0;
        }
        let room = lines.len().saturating_sub(MORE.len());
        let (mut used, mut cut) = (0, false);
        self.engine.each_blocked(&Kernel, &mut |task, hold, ms| {
            let (addr, why) = match hold {
                Hold::Code(addr) => (addr, c""),
                Hold::Running => (0, c"running"),
                Hold::InKernel => (0, c"in-kernel"),
                Hold::Unreliable(reason) => (0, reason.c_name()),
            };
            let rest = &mut lines[used..room];
            let (line, size) = (rest.as_mut_ptr().cast(), rest.len());
            // SAFETY: the rest of the buffer; a task that is pinned; a C string.
            let written = unsafe {
                ffi::klp_shim_show_blocked(line, size, tasks::pointer(task), addr, why.as_ptr(), ms)
            };
            let written = usize::try_from(written).unwrap_or(0);
            // Whole lines only.
            if cut || written + 1 >= size {
                cut = true;
            } else {
                used += written;
            }
        });
        if cut {
            lines[used..used + MORE.len()].copy_from_slice(MORE);
            used += MORE.len();
        }
        used
    }
}

/// The last line of `blocked` if not all fit into the page that a file in sysfs has.
const MORE: &[u8] = b"(and more)\n";

/// Logs a refusal that the engine has not logged. The kernel says nothing of one that is only too early.
fn say(error: &Error<Name>) {
    let level = if let Error::InTransition { .. } = error { Level::Hint } else { Level::Error };
    Kernel.log(level, format_args!("{error}"));
}

// The numbers of `enum klp_attr` in shim/shim.h.
const ATTR_ENABLED: c_uint = 0;
const ATTR_TRANSITION: c_uint = 1;
const ATTR_REPLACE: c_uint = 2;
const ATTR_STACK_ORDER: c_uint = 3;
const ATTR_PATCHED: c_uint = 4;
const ATTR_FORCE: c_uint = 5;
const ATTR_ENTRY: c_uint = 6;

/// `klp_enable_patch()`, called by a patch module's init function.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_enable_patch(patch: *mut KlpPatch, relocations: *const KlpRelocations) -> c_int {
    let Some(patch) = NonNull::new(patch) else { return -Errno::EINVAL.0 };
    // SAFETY: the module that calls us declares the patch.
    let module = unsafe { patch.as_ref() }.module;
    if module.is_null() {
        Kernel.log(Level::Error, format_args!("a patch names no module: set klp_patch.mod to THIS_MODULE"));
        return -Errno::EINVAL.0;
    }
    // SAFETY: `struct module` of the module that calls us, which is therefore being loaded.
    if !unsafe { ffi::klp_shim_module_get(module) } {
        Kernel.log(Level::Error, format_args!("the patch's module is being unloaded"));
        return -Errno::ENOENT.0;
    }
    // Removed after the lock is given up: see `Directory`.
    let mut unused = None;
    let mut guard = Guard::lock();
    let result = guard.control().enable_new(patch, relocations, &mut unused);
    drop(guard);
    drop(unused);
    if result.is_err() {
        // SAFETY: taken above.
        unsafe { ffi::klp_shim_module_put(module) };
    }
    to_ret(result.map_err(|error| error.errno()))
}

/// For tests: see `SlotHook::flip_often`.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_flip(times: c_uint) -> c_int {
    to_ret(Guard::lock().control().flip_often(times))
}

/// Goes on with the transition, looks at draining patches, has functions that are settled entered by a cheaper way; returns
/// the milliseconds after which to look again, 0 if there is no need.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_work() -> c_uint {
    {
        let mut guard = Guard::lock();
        let control = guard.control();
        if let Some((id, _)) = control.engine.in_transition() {
            control.in_transition(id, |control| control.engine.advance(&Kernel));
            control.show_blocked();
            control.write_back();
        }
    }
    // One at a time, so that others get the lock.
    while Guard::lock().control().engine.enter_one_cheaply() {}
    loop {
        let mut guard = Guard::lock();
        let Some(drained) = guard.control().next_drained() else {
            let control = guard.control();
            if !control.is_busy() {
                return 0;
            }
            control.backoff = (control.backoff * 2).min(LAST_LOOK_MS);
            let due = control.engine.next_look_ms().and_then(|ms| u32::try_from(ms).ok());
            return due.unwrap_or(control.backoff);
        };
        drop(guard);
        // SAFETY: the patch belongs to a module that we hold a reference on until below.
        let module = unsafe { drained.patch.as_ref() }.module;
        // SAFETY: process context, no lock held.
        unsafe { ffi::klp_shim_wait_for_exits() };
        // Last of all but the reference: whoever sees it gone unloads the module.
        drop(drained.directory);
        // SAFETY: taken in `klp_rs_enable_patch`.
        unsafe { ffi::klp_shim_module_put(module) };
    }
}

/// Reads a sysfs attribute into `value`.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_attr_show(index: KlpIndex, attr: c_uint, value: *mut u64) -> c_int {
    let result = Guard::lock().control().attr(index, attr);
    to_ret(result.map(|shown| {
        // SAFETY: the shim passes its own variable.
        unsafe { value.write(shown) }
    }))
}

/// Writes a sysfs attribute.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_attr_store(patch: u32, attr: c_uint, value: bool) -> c_int {
    let mut guard = Guard::lock();
    let control = guard.control();
    to_ret(match attr {
        ATTR_ENABLED => control.set_enabled(PatchId(patch), value),
        ATTR_FORCE => control.force(PatchId(patch)),
        _ => Err(Errno::EINVAL),
    })
}

/// Reads `blocked` into the `size` bytes at `lines`; how many were written.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_blocked_show(patch: u32, lines: *mut c_char, size: usize) -> c_int {
    // SAFETY: the shim's buffer of that size.
    let lines = unsafe { core::slice::from_raw_parts_mut(lines.cast::<u8>(), size) };
    let used = Guard::lock().control().blocked(PatchId(patch), lines);
    c_int::try_from(used).unwrap_or(0)
}

/// klp.ko goes; there are no patches left.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_exit() {
    // By reference: a copy on the stack would be found there.
    // SAFETY: constants once the module is initialised.
    let texts = unsafe { [&ffi::klp_shim_return_stub_text, &ffi::klp_shim_leave_text] };
    for text in texts.map(core::slice::from_ref) {
        // The last instructions of a redirected call are the stub's, and those of a task that was asked to leave the kernel
        // are the work's: a task may have been interrupted there.
        while text[0].size != 0 && tasks::find_holder(text).is_some() {
            // SAFETY: process context, no lock held.
            unsafe { ffi::klp_shim_sleep(10) };
        }
    }
    shadow::exit();
    // SAFETY: no notifier, no sysfs file, no patch module can call in any more.
    drop(unsafe { (*CONTROL.0.get()).take() });
}
