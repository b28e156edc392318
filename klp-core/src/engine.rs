// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The redirect engine: which replacement each patched function is sent to.
//!
//! Patches are applied in the immediate model (LEAVE_FUNCTION × SWITCH_FUNCTION of
//! `reference/2014-consistency-models.txt`): each function switches for everybody at once. A disabled patch *drains*
//! before it may go: as long as some task may return into its text, it stays.
//!
//! Everything here runs in process context under one lock that the caller holds, and may sleep.

mod func_stack;
mod resolve;

use crate::error::Error;
use crate::patch::{Object, Patch, PatchId, State};
use crate::platform::{Callback, Holder, Level, List, Platform};

use func_stack::FuncStack;

/// What the engine returns for a platform.
pub type Result<T, P> = core::result::Result<T, Error<<P as Platform>::Name>>;

/// Whether unpatching an object runs its callbacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callbacks {
    Run,
    /// Of a patch that a cumulative one replaces: "Any callbacks from the replaced patches are ignored"
    /// (`Documentation/livepatch/cumulative-patches.rst`, Limitations).
    Ignored,
}

/// All patches, and a function stack for each patched function.
pub struct Engine<P: Platform> {
    /// In the order in which they were enabled: a later patch's replacement covers an earlier one's.
    patches: P::List<Patch<P>>,
    stacks: P::List<FuncStack<P>>,
    next_id: u32,
}

impl<P: Platform> Default for Engine<P> {
    fn default() -> Engine<P> {
        Engine { patches: P::List::default(), stacks: P::List::default(), next_id: 1 }
    }
}

impl<P: Platform> Engine<P> {
    /// Takes in a patch: checks it, finds its functions in the objects that are loaded. Nothing is redirected yet.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the patch itself, and the first function that cannot be patched.
    pub fn add(&mut self, platform: &P, mut patch: Patch<P>) -> Result<PatchId, P> {
        if patch.objects.is_empty() {
            return Err(Error::Empty);
        }
        resolve::check_objects(&patch.objects)?;
        for object in patch.objects.iter_mut() {
            resolve::check(object)?;
            if object.name.is_none_or(|name| platform.is_loaded(name)) {
                resolve::resolve(platform, object)?;
            }
        }
        patch.id = PatchId(self.next_id);
        let id = patch.id;
        self.patches.try_push(patch)?;
        self.next_id += 1;
        Ok(id)
    }

    /// Redirects the functions of a patch that is [`State::Ready`] or [`State::Draining`], and, if it is cumulative,
    /// takes all other patches back.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if it is enabled; a hook that cannot be placed; a pre-patch callback that refused. The patch is
    /// then [`State::Ready`] or draining as before, and every function runs what it ran.
    pub fn enable(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        let index = self.index(id)?;
        if self.patches[index].state == State::Enabled {
            return Err(Error::Busy);
        }
        let name = self.patches[index].name;
        platform.log(Level::Notice, format_args!("enabling patch '{}'", name.as_ref()));
        platform.log(Level::Notice, format_args!("'{}': starting patching transition", name.as_ref()));
        // First everything that can fail, with every function still running what it ran; then the switch, which cannot.
        for object in 0..self.patches[index].objects.len() {
            let named = self.patches[index].objects[object].name;
            if named.is_some_and(|module| !platform.is_loaded(module)) {
                continue;
            }
            // A module that came while the patch was not enabled has not been looked at yet.
            let prepared = resolve::resolve(platform, &mut self.patches[index].objects[object])
                .and_then(|()| self.prepare_object(platform, index, object));
            if let Err(error) = prepared {
                for prepared in (0..object).rev() {
                    self.cancel_object(platform, index, prepared);
                }
                return Err(error);
            }
        }
        for object in 0..self.patches[index].objects.len() {
            self.patch_object(platform, index, object);
        }
        self.patches[index].state = State::Enabled;
        self.move_to_top(index);
        if self.patches.last().is_some_and(|patch| patch.replace) {
            for other in 0..self.patches.len() - 1 {
                if self.patches[other].state == State::Enabled {
                    self.take_back(platform, other, Callbacks::Ignored);
                }
            }
        }
        platform.log(Level::Notice, format_args!("'{}': patching complete", name.as_ref()));
        Ok(())
    }

    /// Takes a patch's redirects back; it drains from then on. Any enabled patch may be disabled, in any order: the
    /// functions it covered run the replacement below it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if it is not enabled.
    pub fn disable(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        let index = self.index(id)?;
        if self.patches[index].state != State::Enabled {
            return Err(Error::Busy);
        }
        let name = self.patches[index].name;
        platform.log(Level::Notice, format_args!("'{}': starting unpatching transition", name.as_ref()));
        self.take_back(platform, index, Callbacks::Run);
        Ok(())
    }

    /// Looks whether a draining patch can go: `None` if no task may run its text any more.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if it is not draining.
    pub fn drain(&mut self, platform: &P, id: PatchId) -> Result<Option<Holder>, P> {
        let index = self.index(id)?;
        if self.patches[index].state != State::Draining {
            return Err(Error::Busy);
        }
        // By reference: a copy on the stack would be found there.
        Ok(platform.find_holder(core::slice::from_ref(&self.patches[index].text)))
    }

    /// Forgets a patch that is [`State::Ready`], or draining and free of tasks ([`drain`](Self::drain) said so and the
    /// lock was not given up since).
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if it is enabled.
    pub fn remove(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        let index = self.index(id)?;
        match self.patches[index].state {
            State::Enabled => return Err(Error::Busy),
            State::Draining => {
                let name = self.patches[index].name;
                platform.log(Level::Notice, format_args!("'{}': unpatching complete", name.as_ref()));
                for object in self.patches[index].objects.iter() {
                    for func in object.funcs.iter() {
                        func_stack::forget_original_caller(&mut self.stacks, func);
                    }
                }
            }
            State::Ready => {}
        }
        self.patches.remove(index);
        Ok(())
    }

    /// Patches a module that is being loaded, before its code runs.
    ///
    /// # Errors
    ///
    /// The first function that cannot be patched; the module must then not be loaded, since it would run unpatched.
    pub fn object_coming(&mut self, platform: &P, module: &str) -> Result<(), P> {
        for patch in 0..self.patches.len() {
            if self.patches[patch].state != State::Enabled {
                continue;
            }
            let Some(object) = self.object_named(patch, module) else { continue };
            if let Err(error) = self.patch_loading(platform, patch, object, module) {
                platform.log(
                    Level::Warning,
                    format_args!(
                        "patch '{}' failed for module '{module}', refusing to load module '{module}'",
                        self.patches[patch].name.as_ref()
                    ),
                );
                self.object_going(platform, module);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Patches a module whose code has begun to run with what was enabled after
    /// [`object_coming`](Self::object_coming), when it was not there to be patched yet. What cannot be patched is
    /// logged: it is too late to refuse the module.
    pub fn object_live(&mut self, platform: &P, module: &str) {
        for patch in 0..self.patches.len() {
            if self.patches[patch].state == State::Enabled
                && let Some(object) = self.object_named(patch, module)
                && !self.patches[patch].objects[object].patched
            {
                // Logged where it happened.
                let _ = self.patch_loading(platform, patch, object, module);
            }
        }
    }

    fn patch_loading(&mut self, platform: &P, patch: usize, object: usize, module: &str) -> Result<(), P> {
        let name = self.patches[patch].name;
        platform.log(
            Level::Notice,
            format_args!("applying patch '{}' to loading module '{module}'", name.as_ref()),
        );
        resolve::resolve(platform, &mut self.patches[patch].objects[object])
            .and_then(|()| self.prepare_object(platform, patch, object))
            .inspect_err(|error| platform.log(Level::Error, format_args!("{error}")))?;
        self.patch_object(platform, patch, object);
        Ok(())
    }

    /// Takes back what was done to a module that is being unloaded, after its code last ran.
    pub fn object_going(&mut self, platform: &P, module: &str) {
        for patch in (0..self.patches.len()).rev() {
            let Some(object) = self.object_named(patch, module) else { continue };
            if self.patches[patch].objects[object].patched {
                let name = self.patches[patch].name;
                platform.log(
                    Level::Notice,
                    format_args!("reverting patch '{}' on unloading module '{module}'", name.as_ref()),
                );
                self.unpatch_object(platform, patch, object, Callbacks::Run);
            }
            for func in self.patches[patch].objects[object].funcs.iter_mut() {
                func_stack::forget_original_caller(&mut self.stacks, func);
                func.site = None;
                func.published = false;
            }
        }
    }

    /// All patches, in stacking order: later ones cover earlier ones.
    pub fn patches(&self) -> &[Patch<P>] {
        &self.patches
    }

    /// One patch.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPatch`].
    pub fn patch(&self, id: PatchId) -> Result<&Patch<P>, P> {
        Ok(&self.patches[self.index(id)?])
    }

    /// Calls that ran an original function because a task's return stack was full, over all functions hooked now.
    pub fn missed_calls(&self) -> u32 {
        self.stacks.iter().fold(0, |sum, stack| sum.saturating_add(stack.missed()))
    }

    fn index(&self, id: PatchId) -> Result<usize, P> {
        self.patches.iter().position(|patch| patch.id == id).ok_or(Error::NoSuchPatch)
    }

    fn object_named(&self, patch: usize, module: &str) -> Option<usize> {
        self.patches[patch]
            .objects
            .iter()
            .position(|object| object.name.as_ref().is_some_and(|name| name.as_ref() == module))
    }

    fn move_to_top(&mut self, index: usize) {
        self.patches[index..].rotate_left(1);
    }

    /// Unpatches all objects; the patch then drains.
    fn take_back(&mut self, platform: &P, index: usize, callbacks: Callbacks) {
        for object in (0..self.patches[index].objects.len()).rev() {
            self.unpatch_object(platform, index, object, callbacks);
        }
        self.patches[index].state = State::Draining;
    }

    /// Hooks an object's functions and puts the replacements on their stacks, without anything running them yet.
    fn prepare_object(&mut self, platform: &P, patch: usize, object: usize) -> Result<(), P> {
        let id = self.patches[patch].id;
        let Object { name, callbacks, funcs, patched } = &mut self.patches[patch].objects[object];
        platform
            .callback(*callbacks, Callback::PrePatch)
            .map_err(|errno| Error::Callback { object: *name, errno })?;
        for index in 0..funcs.len() {
            if let Err(error) = func_stack::push(platform, &mut self.stacks, id, &funcs[index]) {
                for func in funcs[..index].iter().rev() {
                    func_stack::cancel(&mut self.stacks, id, func);
                }
                let _ = platform.callback(*callbacks, Callback::PostUnpatch);
                return Err(error);
            }
        }
        *patched = true;
        Ok(())
    }

    /// Takes [`prepare_object`](Self::prepare_object) back: nothing has run the replacements.
    fn cancel_object(&mut self, platform: &P, patch: usize, object: usize) {
        let id = self.patches[patch].id;
        let Object { funcs, patched, callbacks, .. } = &mut self.patches[patch].objects[object];
        if !*patched {
            return;
        }
        for func in funcs.iter().rev() {
            func_stack::cancel(&mut self.stacks, id, func);
        }
        *patched = false;
        // As the kernel does: what the pre-patch callback set up, the post-unpatch callback takes down.
        let _ = platform.callback(*callbacks, Callback::PostUnpatch);
    }

    /// Lets calls reach the replacements of a prepared object.
    fn patch_object(&mut self, platform: &P, patch: usize, object: usize) {
        let Object { funcs, patched, callbacks, .. } = &mut self.patches[patch].objects[object];
        if *patched {
            for func in funcs.iter_mut() {
                func.published = true;
                func_stack::publish(&self.stacks, func);
            }
            let _ = platform.callback(*callbacks, Callback::PostPatch);
        }
    }

    fn unpatch_object(&mut self, platform: &P, patch: usize, object: usize, run: Callbacks) {
        let id = self.patches[patch].id;
        let Object { funcs, patched, callbacks, .. } = &mut self.patches[patch].objects[object];
        if !*patched {
            return;
        }
        if run == Callbacks::Run {
            let _ = platform.callback(*callbacks, Callback::PreUnpatch);
        }
        for func in funcs.iter().rev() {
            func_stack::remove(&mut self.stacks, id, func);
        }
        *patched = false;
        if run == Callbacks::Run {
            let _ = platform.callback(*callbacks, Callback::PostUnpatch);
        }
    }
}
