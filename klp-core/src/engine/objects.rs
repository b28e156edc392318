// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Objects: patching and unpatching what is loaded, modules that come and go.

use crate::engine::{Engine, Result, func_stack, relocs, resolve, transition};
use crate::error::Error;
use crate::patch::{Members, Object, Patch, State};
use crate::platform::{Callback, Level, Platform};

impl<P: Platform> Engine<P> {
    /// Patches a module that is being loaded, before its code runs.
    ///
    /// # Errors
    ///
    /// The first function that cannot be patched; the module must then not be loaded, since it would run unpatched.
    pub fn object_coming(&mut self, platform: &P, module: &str) -> Result<(), P> {
        for patch in 0..self.patches.len() {
            if self.patches[patch].members == Members::NONE {
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
            if self.patches[patch].members != Members::NONE
                && let Some(object) = self.object_named(patch, module)
                && !self.patches[patch].objects[object].patched
            {
                // Logged where it happened.
                let _ = self.patch_loading(platform, patch, object, module);
            }
        }
    }

    /// As `klp_module_coming` in `kernel/livepatch/core.c`.
    fn patch_loading(&mut self, platform: &P, patch: usize, object: usize, module: &str) -> Result<(), P> {
        let name = self.patches[patch].name;
        let name = name.as_ref();
        let resolved = resolve::resolve(platform, &mut self.patches[patch].objects[object])
            .and_then(|()| relocs::apply(platform, &mut self.patches[patch].relocations, Some(module)));
        resolved.inspect_err(|error| {
            platform.log(Level::Error, format_args!("{error}"));
            let errno = error.errno().0;
            platform.log(
                Level::Warning,
                format_args!("failed to initialize patch '{name}' for module '{module}' (-{errno})"),
            );
        })?;
        platform.log(Level::Notice, format_args!("applying patch '{name}' to loading module '{module}'"));
        self.pre_patch(platform, patch, object)?;
        let patched = self.patch_object(platform, patch, object).and_then(|()| {
            self.publish_object(platform, patch, object)
                .inspect_err(|error| platform.log(Level::Error, format_args!("{error}")))
        });
        if let Err(error) = patched {
            let errno = error.errno().0;
            platform.log(
                Level::Warning,
                format_args!("failed to apply patch '{name}' to module '{module}' (-{errno})"),
            );
            self.cancel_object(platform, patch, object);
            self.call_back_object(platform, patch, object, Callback::PostUnpatch);
            return Err(error);
        }
        if !self.is_in_transition(patch) {
            self.call_back_object(platform, patch, object, Callback::PostPatch);
        }
        Ok(())
    }

    /// Lets calls reach what an object's functions are replaced with. Its module's code has not run yet.
    fn publish_object(&mut self, platform: &P, patch: usize, object: usize) -> Result<(), P> {
        if let Some(transition) = &mut self.transition {
            let of = &self.patches[patch];
            transition.cover(platform, &self.patches, &self.stacks, of, &of.objects[object])?;
        }
        for func in self.patches[patch].objects[object].funcs.iter_mut() {
            func.published = true;
        }
        for func in self.patches[patch].objects[object].funcs.iter() {
            func_stack::publish(&self.stacks, Some(func), |id| transition::members(&self.patches, id));
        }
        Ok(())
    }

    /// Takes back what was done to a module that is being unloaded, after its code last ran.
    pub fn object_going(&mut self, platform: &P, module: &str) {
        for patch in 0..self.patches.len() {
            let Some(object) = self.object_named(patch, module) else { continue };
            // One that is unpatched and whose patch has not drained has a callback left to run.
            if self.patches[patch].objects[object].prepared {
                let name = self.patches[patch].name;
                // As klp_cleanup_module_patches_limited in kernel/livepatch/core.c.
                if self.patches[patch].objects[object].patched && !self.is_in_transition(patch) {
                    self.call_back_object(platform, patch, object, Callback::PreUnpatch);
                }
                platform.log(
                    Level::Notice,
                    format_args!("reverting patch '{}' on unloading module '{module}'", name.as_ref()),
                );
                self.unpatch_object(platform, patch, object);
                self.call_back_object(platform, patch, object, Callback::PostUnpatch);
            }
            for func in self.patches[patch].objects[object].funcs.iter_mut() {
                if func.published {
                    func_stack::forget_original_caller(&mut self.stacks, func);
                }
                func.site = None;
                func.published = false;
            }
            relocs::clear(platform, &mut self.patches[patch].relocations, Some(module));
        }
    }

    fn is_in_transition(&self, patch: usize) -> bool {
        self.transition.as_ref().is_some_and(|transition| transition.patch() == self.patches[patch].id)
    }

    fn object_named(&self, patch: usize, module: &str) -> Option<usize> {
        self.patches[patch]
            .objects
            .iter()
            .position(|object| object.name.as_ref().is_some_and(|name| name.as_ref() == module))
    }

    /// Prepares all objects that are loaded. After an error some may be: see [`cancel_objects`](Self::cancel_objects).
    pub(super) fn prepare_objects(&mut self, platform: &P, patch: usize) -> Result<(), P> {
        for object in self.patches[patch].objects.iter_mut() {
            object.was_prepared = object.prepared;
        }
        relocs::apply(platform, &mut self.patches[patch].relocations, None)
            .inspect_err(|error| platform.log(Level::Error, format_args!("{error}")))?;
        for object in 0..self.patches[patch].objects.len() {
            let named = self.patches[patch].objects[object].name;
            if named.is_some_and(|module| !platform.is_loaded(module)) {
                continue;
            }
            // A module that came while the patch was not enabled has not been looked at yet.
            let Patch { objects, relocations, .. } = &mut self.patches[patch];
            resolve::resolve(platform, &mut objects[object])
                .and_then(|()| match &named {
                    Some(module) => relocs::apply(platform, relocations, Some(module.as_ref())),
                    None => Ok(()),
                })
                .inspect_err(|error| platform.log(Level::Error, format_args!("{error}")))?;
            if !self.patches[patch].objects[object].prepared {
                self.pre_patch(platform, patch, object)?;
            }
            self.patch_object(platform, patch, object).inspect_err(|_| {
                let name = named.as_ref().map_or("vmlinux", AsRef::as_ref);
                platform.log(Level::Warning, format_args!("failed to patch object '{name}'"));
            })?;
        }
        Ok(())
    }

    /// Takes [`prepare_objects`](Self::prepare_objects) back: nothing has run the replacements.
    pub(super) fn cancel_objects(&mut self, platform: &P, patch: usize) {
        for object in 0..self.patches[patch].objects.len() {
            self.cancel_object(platform, patch, object);
        }
        // As the kernel does: what a pre-patch callback set up, the post-unpatch callback takes down.
        for object in 0..self.patches[patch].objects.len() {
            if !self.patches[patch].objects[object].was_prepared {
                self.call_back_object(platform, patch, object, Callback::PostUnpatch);
            }
        }
        // The text of one that drains may still be running.
        if self.patches[patch].state == State::Ready {
            let Patch { objects, relocations, .. } = &mut self.patches[patch];
            for name in objects.iter().filter_map(|object| object.name) {
                relocs::clear(platform, relocations, Some(name.as_ref()));
            }
            relocs::clear(platform, relocations, None);
        }
    }

    /// Runs an object's pre-patch callback. Its refusal was logged.
    fn pre_patch(&mut self, platform: &P, patch: usize, object: usize) -> Result<(), P> {
        let object = &mut self.patches[patch].objects[object];
        platform.callback(object.callbacks, Callback::PrePatch).map_err(|errno| {
            let error = Error::Callback { object: object.name, errno };
            platform.log(Level::Warning, format_args!("{error}"));
            error
        })?;
        object.prepared = true;
        Ok(())
    }

    /// Hooks an object's functions and puts the replacements on their stacks, without anything running them yet. What
    /// refused was logged, and is taken back.
    fn patch_object(&mut self, platform: &P, patch: usize, object: usize) -> Result<(), P> {
        let id = self.patches[patch].id;
        let Object { funcs, patched, .. } = &mut self.patches[patch].objects[object];
        for index in 0..funcs.len() {
            if let Err(error) = func_stack::push(platform, &mut self.stacks, id, &funcs[index]) {
                platform.log(Level::Error, format_args!("{error}"));
                for func in funcs[..index].iter().rev() {
                    func_stack::cancel(&mut self.stacks, id, func);
                }
                return Err(error);
            }
        }
        *patched = true;
        let object = &self.patches[patch].objects[object];
        platform.show_object(object.callbacks, object);
        Ok(())
    }

    /// Takes [`patch_object`](Self::patch_object) back: nothing has run the replacements.
    fn cancel_object(&mut self, platform: &P, patch: usize, object: usize) {
        let id = self.patches[patch].id;
        let Object { funcs, patched, .. } = &mut self.patches[patch].objects[object];
        if core::mem::replace(patched, false) {
            for func in funcs.iter().rev() {
                func_stack::cancel(&mut self.stacks, id, func);
            }
            let object = &self.patches[patch].objects[object];
            platform.show_object(object.callbacks, object);
        }
    }

    /// From now on calls may reach the replacements.
    pub(super) fn mark_published(&mut self, patch: usize) {
        for object in self.patches[patch].objects.iter_mut().filter(|object| object.patched) {
            object.funcs.iter_mut().for_each(|func| func.published = true);
        }
    }

    /// Takes the redirects of an object's functions back, if there are any. No universe has its patch as a member, or its
    /// code runs no more.
    pub(super) fn unpatch_object(&mut self, platform: &P, patch: usize, object: usize) {
        let id = self.patches[patch].id;
        let Object { funcs, patched, .. } = &mut self.patches[patch].objects[object];
        if core::mem::replace(patched, false) {
            for func in funcs.iter().rev() {
                func_stack::remove(&mut self.stacks, id, func);
            }
            let object = &self.patches[patch].objects[object];
            platform.show_object(object.callbacks, object);
        }
    }

    /// Runs a callback of all objects that are patched, or were when unpatching began.
    pub(super) fn call_back(&mut self, platform: &P, patch: usize, which: Callback) {
        for object in 0..self.patches[patch].objects.len() {
            self.call_back_object(platform, patch, object, which);
        }
    }

    /// Runs a callback of an object whose pre-patch callback has run. The post-unpatch callback runs once.
    fn call_back_object(&mut self, platform: &P, patch: usize, object: usize, which: Callback) {
        let Object { callbacks, prepared, .. } = &mut self.patches[patch].objects[object];
        if *prepared {
            *prepared = which != Callback::PostUnpatch;
            let _ = platform.callback(*callbacks, which);
        }
    }
}
