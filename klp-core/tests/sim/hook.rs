// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! ftrace of the simulated kernel.

use std::cell::Cell;
use std::rc::Rc;

use klp_core::branch::BranchKind;
use klp_core::patchable::Room;
use klp_core::platform::{Entry, Errno, Hook, NoMemory};
use klp_core::redirect::FuncRedirect;
use klp_core::{Addr, FarBranch};

use super::arch::{NOP, Toy};
use super::fault::{self, Fault};
use super::kernel::Sim;

/// Where ftrace's trampoline lies.
pub(crate) const TRAMPOLINE: Addr = 0xffff_ffff_81f0_0000;

/// The part of a hook that the callback sees.
pub(crate) struct HookState {
    pub(crate) site: Addr,
    pub(crate) redirect: FuncRedirect,
    armed: Cell<bool>,
    /// Where calls go without asking the callback.
    pub(super) direct: Cell<Option<Addr>>,
    /// The function's own slot, if ftrace does not know it.
    pub(super) room: Option<Room>,
}

/// A hook.
pub(crate) struct SimHook<const STUB: bool> {
    kernel: Sim<STUB>,
    state: Rc<HookState>,
}

impl<const STUB: bool> SimHook<STUB> {
    pub(super) fn new(kernel: &Sim<STUB>, site: Addr, room: Option<Room>) -> Result<SimHook<STUB>, NoMemory> {
        if fault::due(Fault::Allocation) {
            return Err(NoMemory);
        }
        kernel.0.hooks.set(kernel.0.hooks.get() + 1);
        let (redirect, armed, direct) = (FuncRedirect::default(), Cell::new(false), Cell::new(None));
        let state = Rc::new(HookState { site, redirect, armed, direct, room });
        Ok(SimHook { kernel: kernel.clone(), state })
    }

    fn fill_slot(&self, room: Room, target: Addr) {
        let slot = Toy::<STUB>::slot(BranchKind::Jump, room.slot, target).expect("an aligned slot");
        self.kernel.write_room(self.state.site, slot.as_bytes());
    }
}

impl<const STUB: bool> Hook for SimHook<STUB> {
    /// Who asks for it is about to change it, mostly.
    fn redirect(&self) -> &FuncRedirect {
        self.kernel.notify_watcher();
        &self.state.redirect
    }

    fn arm(&mut self) -> Result<(), Errno> {
        let site = self.state.site;
        self.kernel.notify_watcher();
        assert!(!self.state.armed.get(), "armed twice");
        if fault::due(Fault::Arm) {
            return Err(Errno::ENOMEM);
        }
        if self.kernel.find_function(|f| f.site() == Some(site)).is_none() {
            return Err(Errno::EINVAL);
        }
        if self.kernel.0.ipmodify_users.borrow().contains(&site) || !self.kernel.hooks_at(site).is_empty() {
            return Err(Errno::EBUSY);
        }
        let insn = match self.state.room {
            Some(room) => {
                self.fill_slot(room, TRAMPOLINE);
                Toy::<STUB>::encode(BranchKind::Jump, site, room.slot)
            }
            None => Toy::<STUB>::encode(BranchKind::Call, site, TRAMPOLINE),
        };
        self.kernel.write_site(site, insn.expect("text is within reach").as_bytes());
        self.state.armed.set(true);
        self.kernel.0.armed.borrow_mut().push(Rc::clone(&self.state));
        self.kernel.notify_watcher();
        Ok(())
    }

    fn disarm(&mut self) {
        if !self.state.armed.replace(false) {
            return;
        }
        self.kernel.notify_watcher();
        self.state.direct.set(None);
        self.kernel.write_site(self.state.site, &NOP);
        if let Some(room) = self.state.room {
            self.fill_slot(room, room.site + 4);
        }
        self.kernel.0.armed.borrow_mut().retain(|hook| !Rc::ptr_eq(hook, &self.state));
        self.kernel.end_callbacks();
        self.kernel.notify_watcher();
    }

    fn entry(&self) -> Entry {
        match (self.state.direct.get(), self.state.room) {
            (None, _) => Entry::Callback,
            (Some(_), None) => Entry::Direct,
            (Some(_), Some(_)) => Entry::Slot,
        }
    }

    fn enter_cheaply(&mut self, target: Addr) {
        self.kernel.notify_watcher();
        assert!(
            self.state.armed.get() && self.state.direct.get().is_none(),
            "asked for once, of an armed hook"
        );
        assert!(!self.kernel.is_deciding(), "a function is taken from the callback during a transition");
        if STUB
            || self.kernel.0.direct_users.borrow().contains(&self.state.site)
            || fault::due(Fault::Cheaper)
        {
            return;
        }
        if let Some(room) = self.state.room {
            self.fill_slot(room, target);
        }
        self.state.direct.set(Some(target));
        self.kernel.notify_watcher();
    }

    fn enter_by_callback(&mut self) -> Result<(), Errno> {
        self.kernel.notify_watcher();
        assert!(self.state.direct.get().is_some(), "it is entered by the callback already");
        if fault::due(Fault::Back) {
            return Err(Errno::ENOMEM);
        }
        if let Some(room) = self.state.room {
            self.fill_slot(room, TRAMPOLINE);
        }
        self.state.direct.set(None);
        // Those who were on their way past the callback have arrived.
        self.kernel.end_callbacks();
        self.kernel.notify_watcher();
        Ok(())
    }
}

impl<const STUB: bool> Drop for SimHook<STUB> {
    fn drop(&mut self) {
        let kernel = &self.kernel.0;
        kernel.hooks.set(kernel.hooks.get() - 1);
        let may_be_armed = kernel.powered_off.get() || std::thread::panicking();
        assert!(may_be_armed || !self.state.armed.get(), "a hook is freed while it is armed");
    }
}

impl<const STUB: bool> Sim<STUB> {
    /// The hooks whose callbacks run at a site.
    pub(crate) fn hooks_at(&self, site: Addr) -> Vec<Rc<HookState>> {
        self.0.armed.borrow().iter().filter(|hook| hook.site == site).cloned().collect()
    }

    /// All sites that are hooked, by address.
    pub(crate) fn hooked_sites(&self) -> Vec<Addr> {
        let mut sites: Vec<Addr> = self.0.armed.borrow().iter().map(|hook| hook.site).collect();
        sites.sort_unstable();
        sites
    }

    /// Whether some function that is hooked is in transition.
    pub(crate) fn is_deciding(&self) -> bool {
        self.0.armed.borrow().iter().any(|hook| hook.redirect.is_deciding())
    }

    /// How many hooks exist, armed or not.
    pub(crate) fn hooks(&self) -> u32 {
        self.0.hooks.get()
    }

    /// The functions that are entered without the callback, by their sites.
    pub(crate) fn direct_sites(&self) -> Vec<Addr> {
        let armed = self.0.armed.borrow();
        let mut sites: Vec<Addr> =
            armed.iter().filter(|hook| hook.direct.get().is_some()).map(|hook| hook.site).collect();
        sites.sort_unstable();
        sites
    }

    /// Makes somebody else have ftrace call him directly at a site.
    pub(crate) fn call_directly(&self, site: Addr) {
        self.0.direct_users.borrow_mut().push(site);
    }

    /// Makes somebody else change the resume address at a site, until [`release`](Self::release).
    pub(crate) fn occupy(&self, site: Addr) {
        self.0.ipmodify_users.borrow_mut().push(site);
    }

    pub(crate) fn release(&self, site: Addr) {
        self.0.ipmodify_users.borrow_mut().retain(|user| *user != site);
    }
}
