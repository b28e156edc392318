// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Functions with a slot of their own: their modules were built with room for it, and ftrace does not know them.
//!
//! The entry branches to the slot, and the slot goes on at a thunk, which calls the redirect callback, or at the replacement. Once
//! filled it stays: a function that is not redirected any more has a slot that leads back to it, so that whoever has kept the
//! branch, as a kprobe at the entry does, still gets there.

use core::ptr::NonNull;

use klp_core::branch::{BranchKind, Code};
use klp_core::ftrace::PatchSite;
use klp_core::patchable::{self, Room};
use klp_core::platform::{Entry, Errno, NoMemory};
use klp_core::redirect::FuncRedirect;
use klp_core::{Addr, FarBranch, Patchable};

use crate::platform::errno;
use crate::{Native, alloc, ffi};

/// Longest branch of any architecture, in bytes.
const MAX_BRANCH: usize = 8;

/// A hook at one function's own slot.
pub(crate) struct SlotHook {
    redirect: NonNull<FuncRedirect>,
    room: Room,
    resume: Addr,
    /// Where the slot leads while the callback decides; 0: the hook is not armed.
    thunk: Addr,
    entry: Entry,
}

/// No space left on device.
const ENOSPC: Errno = Errno(28);
/// Operation not supported.
const EOPNOTSUPP: Errno = Errno(95);

fn write_text(addr: Addr, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: no CPU executes these bytes, and they are a module's, which stays while it has a hook.
    errno(unsafe { ffi::klp_shim_write_text(addr, bytes.as_ptr().cast(), bytes.len()) })
}

impl SlotHook {
    pub(crate) fn new(site: PatchSite, room: Room) -> Result<SlotHook, NoMemory> {
        // Zeros are a valid FuncRedirect: all its fields are atomic integers.
        let redirect = alloc::alloc(size_of::<FuncRedirect>())?.cast();
        Ok(SlotHook { redirect, room, resume: site.resume, thunk: 0, entry: Entry::Callback })
    }

    pub(crate) fn redirect(&self) -> &FuncRedirect {
        // SAFETY: allocated in `new`, freed when the hook is dropped.
        unsafe { self.redirect.as_ref() }
    }

    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// A branch from the entry.
    fn branch_to(&self, target: Addr) -> Result<Code, Errno> {
        Native::encode(BranchKind::Jump, self.room.site, target).map_err(|_| Errno::EINVAL)
    }

    /// The branch from the entry to the slot.
    fn branch(&self) -> Result<Code, Errno> {
        self.branch_to(self.room.slot)
    }

    /// Exchanges the entry instruction under CPUs that may execute it: the bytes of it that differ between branching and not.
    fn flip(&self, code: &Code) -> Result<(), Errno> {
        let changes = &code.as_bytes()[Native::FLIP];
        let at = self.room.site + Native::FLIP.start as u64;
        // SAFETY: an instruction and another that may be put in its place (`Patchable::FLIP`), in a module that stays while it
        // has a hook.
        errno(unsafe { ffi::klp_shim_write_live(at, changes.as_ptr().cast(), changes.len()) })
    }

    /// Whether the entry is the branch already, since a kprobe has kept it; else it is an instruction that goes on behind it.
    ///
    /// # Errors
    ///
    /// It is neither, or there is a kprobe, which would go on as if the entry were what it was when the kprobe came.
    /// None comes while `_no_probes` lives.
    fn is_on(&self, branch: &Code, _no_probes: &NoProbes) -> Result<bool, Errno> {
        let mut entry = [0; MAX_BRANCH];
        let entry = &mut entry[..Native::BRANCH_LEN];
        // SAFETY: the destination is ours; takes any address.
        let read = unsafe { ffi::klp_shim_read(entry.as_mut_ptr().cast(), self.room.site, entry.len()) };
        let on = entry == branch.as_bytes();
        let idle = Native::nop(entry) == Some(entry.len()) && !self.has_probe();
        if read && (on || idle) { Ok(on) } else { Err(Errno::EBUSY) }
    }

    /// Writes what of the entry is not flipped, and does nothing unless the rest makes it a branch.
    fn write_rest(&self, code: &Code) -> Result<(), Errno> {
        let rest = Native::FLIP.end..Native::BRANCH_LEN;
        write_text(self.room.site + rest.start as u64, &code.as_bytes()[rest])
    }

    pub(crate) fn arm(&mut self) -> Result<(), Errno> {
        let branch = self.branch()?;
        let no_probes = NoProbes::lock()?;
        let is_on = self.is_on(&branch, &no_probes)?;
        // SAFETY: the FuncRedirect lives until the thunk is given back.
        let thunk = unsafe { ffi::klp_shim_thunk_take(self.redirect.as_ptr().cast(), self.resume) };
        if thunk == 0 {
            return Err(ENOSPC);
        }
        let armed = if is_on { self.lead_to(thunk) } else { self.fill(thunk, &branch) };
        match armed {
            Ok(()) => self.thunk = thunk,
            // SAFETY: nobody has reached it.
            Err(_) => unsafe { ffi::klp_shim_thunk_give(thunk) },
        }
        armed
    }

    /// Fills the slot, which nobody enters, and switches the entry on. Whatever fails, nobody enters it, and it is no obstacle to
    /// the next one.
    fn fill(&self, thunk: Addr, branch: &Code) -> Result<(), Errno> {
        let slot = |target| patchable::slot::<Native>(self.room.slot, target).map_err(|_| Errno::EINVAL);
        let (slot, idle) = (slot(thunk)?, slot(self.resume)?);
        let filled = write_text(self.room.slot, slot.as_bytes())
            .and_then(|()| self.write_rest(branch))
            .and_then(|()| self.flip(branch));
        if filled.is_err() {
            until_there_is_memory(|| write_text(self.room.slot, idle.as_bytes()));
        }
        filled
    }

    /// Moves the slot, in which CPUs may be.
    fn lead_to(&self, target: Addr) -> Result<(), Errno> {
        if Native::SLOT_IS_BRANCH {
            let branch = patchable::slot::<Native>(self.room.slot, target).map_err(|_| Errno::EINVAL)?;
            let bytes = branch.as_bytes();
            // SAFETY: a branch and another that may be put in its place (`Patchable::SLOT_IS_BRANCH`).
            return errno(unsafe {
                ffi::klp_shim_write_live(self.room.slot, bytes.as_ptr().cast(), bytes.len())
            });
        }
        // SAFETY: the slot is there, its literal aligned; the target stays as long as calls are sent there.
        errno(unsafe { ffi::klp_shim_write_literal(self.room.slot + Native::SLOT_LITERAL as u64, target) })
    }

    pub(crate) fn enter_cheaply(&mut self, target: Addr) {
        if self.lead_to(target).is_ok() {
            self.entry = Entry::Slot;
        }
    }

    pub(crate) fn enter_by_callback(&mut self) -> Result<(), Errno> {
        if self.entry == Entry::Slot {
            self.lead_to(self.thunk)?;
            self.entry = Entry::Callback;
            // SAFETY: process context.
            unsafe { ffi::klp_shim_wait_for_calls() };
        }
        Ok(())
    }

    /// Switches the entry off and on again, `times`: for tests, in which CPUs execute it meanwhile. A function that is not
    /// entered through its slot, or has a kprobe at the entry, is left alone.
    pub(crate) fn flip_often(&self, times: u32) -> Result<(), Errno> {
        let branch = self.branch()?;
        let _no_probes = NoProbes::lock()?;
        if self.entry != Entry::Slot || self.has_probe() {
            return Ok(());
        }
        for _ in 0..times {
            self.flip(&Native::idle(&branch))?;
            until_there_is_memory(|| self.flip(&branch));
        }
        Ok(())
    }

    fn has_probe(&self) -> bool {
        // SAFETY: takes any address.
        unsafe { ffi::klp_shim_has_probe(self.room.site) }
    }

    pub(crate) fn disarm(&mut self) {
        if self.thunk == 0 {
            return;
        }
        // As the compiler makes it: what does nothing, of a branch to itself.
        let Ok(branch) = self.branch_to(self.room.site) else { return };
        let idle = Native::idle(&branch);
        // It could be locked when the hook was armed.
        if let Ok(_no_probes) = NoProbes::lock()
            && !self.has_probe()
        {
            until_there_is_memory(|| self.flip(&idle));
            until_there_is_memory(|| self.write_rest(&idle));
        }
        until_there_is_memory(|| self.lead_to(self.resume));
        // SAFETY: process context.
        unsafe { ffi::klp_shim_wait_for_calls() };
        // SAFETY: nobody is on the way there.
        unsafe { ffi::klp_shim_thunk_give(self.thunk) };
        (self.thunk, self.entry) = (0, Entry::Callback);
    }
}

/// As long as it lives no kprobe comes or goes: one that comes takes a copy of the instruction at its place, before it can be seen,
/// and would go on with that copy.
struct NoProbes;

impl NoProbes {
    /// May sleep.
    fn lock() -> Result<NoProbes, Errno> {
        // SAFETY: process context; unlocked when dropped.
        if unsafe { ffi::klp_shim_probes_lock() } { Ok(NoProbes) } else { Err(EOPNOTSUPP) }
    }
}

impl Drop for NoProbes {
    fn drop(&mut self) {
        // SAFETY: locked by this task.
        unsafe { ffi::klp_shim_probes_unlock() }
    }
}

/// Text is written through a mapping of its own, which takes memory; what takes a redirect back must not fail.
fn until_there_is_memory(write: impl Fn() -> Result<(), Errno>) {
    while write().is_err() {
        // SAFETY: process context.
        unsafe { ffi::klp_shim_sleep(10) };
    }
}

impl Drop for SlotHook {
    fn drop(&mut self) {
        self.disarm();
        // SAFETY: the memory came from `alloc`, and no thunk leads to it.
        unsafe { alloc::free(self.redirect.cast()) };
    }
}
