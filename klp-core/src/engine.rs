// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The redirect engine: which replacement each patched function is sent to, for each task.
//!
//! A patch takes effect in the model it asks for ([`Model`]). In the immediate one each function switches for
//! everybody at once, and a disabled patch *drains* before it may go: as long as some task may return into its text, it
//! stays. In all others there is a *transition*: tasks are switched when they are out of the functions that change, one
//! by one or all at once. There is at most one transition at a time; nothing else starts meanwhile.
//!
//! Everything here runs in process context under one lock that the caller holds, and may sleep.

pub mod code;
mod func_stack;
mod objects;
mod relocs;
mod resolve;
mod transition;

use crate::error::Error;
use crate::patch::{Func, Leave, Members, Model, Patch, PatchId, State, Unfinished};
use crate::platform::{Callback, Entry, Hold, Holder, Hook, Level, List, Platform, TaskId};
use crate::system_state;
use crate::universe::Universe;

use code::Change;
use func_stack::FuncStack;
use transition::Transition;

/// What the engine returns for a platform.
pub type Result<T, P> = core::result::Result<T, Error<<P as Platform>::Name>>;

/// All patches, and a function stack for each patched function.
pub struct Engine<P: Platform> {
    /// In the order in which they were enabled: a later patch's replacement covers an earlier one's.
    patches: P::List<Patch<P>>,
    stacks: P::List<FuncStack<P>>,
    transition: Option<Transition<P>>,
    next_id: u32,
}

impl<P: Platform> Default for Engine<P> {
    fn default() -> Engine<P> {
        Engine { patches: P::List::default(), stacks: P::List::default(), transition: None, next_id: 1 }
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
        resolve::check_objects(platform, &patch.objects)?;
        self.check_states(&patch)?;
        relocs::check(&patch)?;
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

    /// Starts to enable a patch that is [`State::Ready`] or [`State::Draining`], and, if it is cumulative, to take all other
    /// patches back. On return the patch is enabled, or in transition: see [`advance`](Self::advance).
    ///
    /// # Errors
    ///
    /// [`Error::InTransition`]; [`Error::Busy`] if it is enabled; a hook that cannot be placed; a pre-patch callback that
    /// refused. The patch is then [`State::Ready`] or draining as before, and every function runs what it ran. Everything
    /// but the first two was logged.
    ///
    /// The post-unpatch callbacks of a patch that still drains have not run, since tasks may use what they free; so its
    /// pre-patch callbacks do not run again, as when an unpatching transition is reversed.
    pub fn enable(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        self.check_no_transition()?;
        let index = self.index(id)?;
        if self.patches[index].state == State::Enabled {
            return Err(Error::Busy);
        }
        self.check_states(&self.patches[index])?;
        let Patch { name, model, .. } = self.patches[index];
        platform.log(Level::Notice, format_args!("enabling patch '{}'", name.as_ref()));
        platform.log(Level::Debug, format_args!("'{}': initializing patching transition", name.as_ref()));
        // First everything that can fail, with every function still running what it ran; then the switch, which cannot.
        let prepared = self.prepare_objects(platform, index).and_then(|()| {
            self.enter_replaced_by_callback(index)
                .inspect_err(|error| platform.log(Level::Error, format_args!("{error}")))?;
            if model == Model::Immediate {
                return Ok(None);
            }
            Transition::new(self, platform, index, Universe::Patched)
                .inspect_err(|error| platform.log(Level::Error, format_args!("{error}")))
                .map(Some)
        });
        let transition = match prepared {
            Ok(transition) => transition,
            Err(error) => {
                platform.log(Level::Warning, format_args!("failed to enable patch '{}'", name.as_ref()));
                let cancel =
                    format_args!("'{}': canceling patching transition, going to unpatch", name.as_ref());
                platform.log(Level::Debug, cancel);
                platform
                    .log(Level::Debug, format_args!("'{}': completing unpatching transition", name.as_ref()));
                self.cancel_objects(platform, index);
                platform.log(Level::Notice, format_args!("'{}': unpatching complete", name.as_ref()));
                return Err(error);
            }
        };
        platform.log(Level::Notice, format_args!("'{}': starting patching transition", name.as_ref()));
        self.patches[index].state = State::Enabled;
        self.patches[index].unfinished = Unfinished::Nothing;
        self.move_to_top(index);
        let index = self.patches.len() - 1;
        self.mark_published(index);
        match transition {
            None => {
                self.set_members(index, Members::BOTH);
                self.each_replaced(index, |replaced| replaced.members = Members::NONE);
                self.publish_all();
                self.finish_patching(platform, index, false);
            }
            Some(transition) => {
                self.set_members(index, Members::PATCHED);
                self.each_replaced(index, |replaced| replaced.members = Members::UNPATCHED);
                self.begin(platform, transition);
            }
        }
        Ok(())
    }

    /// Starts to take a patch's redirects back. Any enabled patch may be disabled, in any order: the functions it covered
    /// run the replacement below it. On return it is draining, or in transition: see [`advance`](Self::advance).
    ///
    /// # Errors
    ///
    /// [`Error::InTransition`]; [`Error::Busy`] if it is not enabled; [`Error::NoMemory`]; [`Error::Hook`] if a function
    /// that is entered directly cannot go back to the callback. Nothing was changed then.
    pub fn disable(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        self.check_no_transition()?;
        let index = self.index(id)?;
        if self.patches[index].state != State::Enabled {
            return Err(Error::Busy);
        }
        let Patch { name, model, .. } = self.patches[index];
        func_stack::enter_by_callback::<P>(&mut self.stacks, |patch| patch == id)?;
        let transition = if model == Model::Immediate {
            None
        } else {
            Some(Transition::new(self, platform, index, Universe::Unpatched)?)
        };
        platform.log(Level::Debug, format_args!("'{}': initializing unpatching transition", name.as_ref()));
        self.call_back(platform, index, Callback::PreUnpatch);
        platform.log(Level::Notice, format_args!("'{}': starting unpatching transition", name.as_ref()));
        match transition {
            None => {
                self.set_members(index, Members::NONE);
                self.publish_all();
                self.take_back(platform, index, Unfinished::Unpatching, false);
            }
            Some(transition) => {
                self.set_members(index, Members::PATCHED);
                self.begin(platform, transition);
            }
        }
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
        if self.patches[index].left {
            return Ok(None);
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
        if self.patches[index].state == State::Enabled {
            return Err(Error::Busy);
        }
        self.finish_unpatching(platform, index);
        for object in self.patches[index].objects.iter() {
            for func in object.funcs.iter().filter(|func| func.published) {
                func_stack::forget_original_caller(&mut self.stacks, func);
            }
        }
        self.patches.remove(index);
        Ok(())
    }

    /// Goes on with the transition, if there is one. Answers whether it is still under way: call again, later.
    pub fn advance(&mut self, platform: &P) -> bool {
        let Some(transition) = &mut self.transition else { return false };
        if transition.advance(platform) {
            self.complete(platform, true);
            return false;
        }
        true
    }

    /// Turns the transition of a patch around: what was being enabled is disabled, and the other way round.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if the patch is not in transition; [`Error::NoMemory`]: the transition goes on as it was.
    pub fn reverse(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        let index = self.index(id)?;
        let Some(mut transition) = self.transition.take_if(|transition| transition.patch() == id) else {
            return Err(Error::Busy);
        };
        let reversed = transition.reverse(self, platform, index);
        self.transition = Some(transition);
        if reversed? {
            self.complete(platform, true);
        }
        Ok(())
    }

    /// Switches all tasks that hold the transition of a patch up, wherever they are. The consistency that the patch's model
    /// promises is lost for them. Text that goes drains first, as in the immediate model.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if the patch is not in transition.
    pub fn force(&mut self, platform: &P, id: PatchId) -> Result<(), P> {
        let Some(transition) = self.transition.as_mut().filter(|transition| transition.patch() == id) else {
            return Err(Error::Busy);
        };
        platform.log(Level::Warning, format_args!("forcing remaining tasks to the patched state"));
        transition.force(platform);
        self.complete(platform, false);
        Ok(())
    }

    /// Has one more function that is settled entered by the cheapest way there is; a function that cannot be stays with the
    /// callback. Answers whether there was one: call again. Not while there is a transition, whose functions are decided
    /// about.
    ///
    /// One at a time, since each may have to wait until no task is on its way through ftrace.
    pub fn enter_one_cheaply(&mut self) -> bool {
        let Engine { stacks, patches, .. } = self;
        self.transition.is_none()
            && func_stack::enter_one_cheaply::<P>(stacks, |id| transition::members(patches, id))
    }

    /// Whether [`enter_one_cheaply`](Self::enter_one_cheaply) has anything to do.
    pub fn may_enter_cheaply(&self) -> bool {
        let members = |id| transition::members(&self.patches, id);
        self.transition.is_none() && func_stack::is_any_settled::<P>(&self.stacks, members)
    }

    /// How calls of a function reach what replaces it; `None` if nothing does.
    pub fn entry(&self, func: &Func<P>) -> Option<Entry> {
        self.hook(func).map(Hook::entry)
    }

    /// What sends calls of a function to what replaces it; `None` if nothing does.
    pub fn hook(&self, func: &Func<P>) -> Option<&P::Hook> {
        func_stack::hook(&self.stacks, func)
    }

    /// The patch in transition, and the universe that it leads to.
    pub fn in_transition(&self) -> Option<(PatchId, Universe)> {
        self.transition.as_ref().map(|transition| (transition.patch(), transition.goal()))
    }

    /// For how many milliseconds the transition, if there is one, has been under way, or turned around.
    pub fn transition_age(&self, platform: &P) -> u64 {
        self.transition.as_ref().map_or(0, |transition| transition.age(platform))
    }

    /// In how many milliseconds the next [`advance`](Self::advance) is due, if tasks wait at the border to user mode for it.
    pub fn next_look_ms(&self) -> Option<u64> {
        self.transition.as_ref().and_then(Transition::next_look_ms)
    }

    /// Calls `each` with the tasks that hold the transition up, why, and for how many milliseconds it has been under way.
    /// Checks them anew.
    pub fn each_blocked(&self, platform: &P, each: &mut dyn FnMut(TaskId, Hold, u64)) {
        if let Some(transition) = &self.transition {
            transition.each_blocked(platform, each);
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

    fn check_no_transition(&self) -> Result<(), P> {
        match &self.transition {
            Some(transition) => Err(Error::InTransition { patch: self.patch(transition.patch())?.name }),
            None => Ok(()),
        }
    }

    /// As `klp_is_patch_compatible` in `kernel/livepatch/state.c`.
    fn check_states(&self, patch: &Patch<P>) -> Result<(), P> {
        let enabled = self.patches.iter().filter(|known| known.state == State::Enabled);
        let installed = enabled.flat_map(|known| known.states.iter().copied());
        match system_state::incompatible(&patch.states, patch.replace, installed) {
            Some(state) => Err(Error::Incompatible { patch: patch.name, state }),
            None => Ok(()),
        }
    }

    fn move_to_top(&mut self, index: usize) {
        self.patches[index..].rotate_left(1);
    }

    fn set_members(&mut self, index: usize, members: Members) {
        self.patches[index].members = members;
    }

    /// Does something with the patches that this one replaces: those below, since what is on top was enabled after it.
    fn each_replaced(&mut self, index: usize, each: impl FnMut(&mut Patch<P>)) {
        if self.patches[index].replace {
            let below = self.patches[..index].iter_mut();
            below.filter(|other| other.state == State::Enabled).for_each(each);
        }
    }

    /// Has the callback decide about the functions of the patches that this one replaces.
    fn enter_replaced_by_callback(&mut self, index: usize) -> Result<(), P> {
        let Engine { stacks, patches, .. } = self;
        let replaces = patches[index].replace;
        let replaced = |id| replaces && patches.iter().any(|patch| patch.id == id);
        func_stack::enter_by_callback::<P>(stacks, replaced)
    }

    fn publish_all(&self) {
        func_stack::publish::<P>(&self.stacks, None, |id| transition::members(&self.patches, id));
    }

    /// From the switch on, in a transition once no task can be switched any more: takes the patches back that this one
    /// replaces. `left`: all tasks were seen outside the text of those.
    fn finish_patching(&mut self, platform: &P, index: usize, left: bool) {
        let name = self.patches[index].name;
        platform.log(Level::Debug, format_args!("'{}': completing patching transition", name.as_ref()));
        self.set_members(index, Members::BOTH);
        if self.patches[index].replace {
            for other in 0..index {
                if self.patches[other].state == State::Enabled {
                    // "Any callbacks from the replaced patches are ignored" (cumulative-patches.rst, Limitations).
                    self.take_back(platform, other, Unfinished::Nothing, left);
                }
            }
        }
        self.call_back(platform, index, Callback::PostPatch);
        platform.log(Level::Notice, format_args!("'{}': patching complete", name.as_ref()));
    }

    /// Removes the redirects of a patch that is no member of a universe any more; it drains from then on.
    fn take_back(&mut self, platform: &P, index: usize, unfinished: Unfinished, left: bool) {
        for object in (0..self.patches[index].objects.len()).rev() {
            self.unpatch_object(platform, index, object);
        }
        let patch = &mut self.patches[index];
        patch.members = Members::NONE;
        patch.state = State::Draining;
        patch.unfinished = unfinished;
        patch.left = left;
        if unfinished == Unfinished::Nothing {
            patch.objects.iter_mut().for_each(|object| object.prepared = false);
        }
    }

    /// What is left to do for a patch that was unpatched and has drained.
    fn finish_unpatching(&mut self, platform: &P, index: usize) {
        if core::mem::replace(&mut self.patches[index].unfinished, Unfinished::Nothing) == Unfinished::Nothing
        {
            return;
        }
        let name = self.patches[index].name;
        platform.log(Level::Debug, format_args!("'{}': completing unpatching transition", name.as_ref()));
        self.call_back(platform, index, Callback::PostUnpatch);
        platform.log(Level::Notice, format_args!("'{}': unpatching complete", name.as_ref()));
    }

    fn change<'a>(&'a self, platform: &'a P, patch: PatchId, goal: Universe) -> Change<'a, P> {
        Change { platform, patches: &self.patches, stacks: &self.stacks, patch, goal }
    }

    fn begin(&mut self, platform: &P, transition: Transition<P>) {
        let transition = self.transition.insert(transition);
        transition.begin(platform, &self.patches, &self.stacks);
        // Most often that is all: users of the kernel's livepatch wait for it, but ours need not.
        for _ in 0..transition::FIRST_ATTEMPTS {
            if !self.advance(platform) {
                break;
            }
        }
    }

    /// All tasks are in the universe that the transition leads to. `left`: they were seen outside the text that goes.
    fn complete(&mut self, platform: &P, left: bool) {
        let Some(transition) = self.transition.take() else { return };
        let Ok(index) = self.index(transition.patch()) else { return };
        let goal = transition.goal();
        // Whoever leaves the kernel may still run what lies between there and user mode, which may be of the patch.
        let left = left && self.patches[index].model.leave() != Leave::Kernel;
        // A task may be in the patch's text since it was in effect before.
        let left = left && (goal == Universe::Patched || !transition.enables() || self.patches[index].left);
        let (mine, replaced) = match goal {
            Universe::Patched => (Members::BOTH, Members::NONE),
            Universe::Unpatched => (Members::NONE, Members::BOTH),
        };
        self.set_members(index, mine);
        self.each_replaced(index, |other| {
            if other.members == Members::UNPATCHED {
                other.members = replaced;
            }
        });
        self.publish_all();
        transition.end(platform);
        match goal {
            Universe::Patched => self.finish_patching(platform, index, left),
            Universe::Unpatched => {
                self.take_back(platform, index, Unfinished::Unpatching, left);
                // Text that is known to be left needs no draining, and its patch no waiting.
                if left {
                    self.finish_unpatching(platform, index);
                }
            }
        }
    }
}
