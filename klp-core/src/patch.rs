// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The patch model: a patch changes objects, an object's functions are replaced.
//!
//! The terms are those of `<linux/livepatch.h>`: `struct klp_patch`, `klp_object`, `klp_func`.

use crate::Addr;
use crate::ftrace::PatchSite;
use crate::patch_relocs::Relocations;
use crate::patchable::Room;
use crate::platform::{List, NoMemory, Platform, Range};
use crate::system_state::SystemState;

/// Names a patch for as long as the engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatchId(pub u32);

/// Where a patch is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Known, checked, memory allocated; nothing is redirected.
    Ready,
    /// Its functions are redirected: for all tasks, or, while it is in transition, for some.
    Enabled,
    /// Nothing is redirected any more, but a task may still run its code.
    Draining,
}

/// In which universes a patch's functions are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) unpatched: bool,
    pub(crate) patched: bool,
}

impl Members {
    pub(crate) const NONE: Members = Members { unpatched: false, patched: false };
    pub(crate) const UNPATCHED: Members = Members { unpatched: true, patched: false };
    pub(crate) const PATCHED: Members = Members { unpatched: false, patched: true };
    pub(crate) const BOTH: Members = Members { unpatched: true, patched: true };
}

/// What is left to do when a draining patch has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// All is done.
    Nothing,
    /// To say that unpatching is complete, and to run the post-unpatch callbacks.
    Unpatching,
}

/// When a task may be switched between the patched and the unpatched functions: LEAVE_FUNCTION, LEAVE_PATCHED_SET and
/// LEAVE_KERNEL of `reference/2014-consistency-models.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// At any time: it runs the function's other version from its next call on.
    Function,
    /// While none of the functions that change is on its stack.
    PatchedSet,
    /// While it is at the border to user mode. Tasks that never leave the kernel: as [`PatchedSet`](Self::PatchedSet).
    Kernel,
}

/// What is switched at once: SWITCH_FUNCTION, SWITCH_THREAD and SWITCH_KERNEL of
/// `reference/2014-consistency-models.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// One function, for everybody.
    Function,
    /// All functions, for one task.
    Thread,
    /// All functions, for everybody.
    Kernel,
}

/// The consistency model of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// Leave function, switch function: takes effect at once.
    Immediate,
    /// Leave patched set, switch thread: what the kernel's livepatch does.
    #[default]
    Hybrid,
    /// Leave kernel, switch thread: consistent in each thread (kGraft).
    InThread,
    /// Leave patched set, switch kernel: consistent in time (kpatch).
    InTime,
    /// Leave kernel, switch kernel: both (a checkpoint, as the freezer makes them).
    Checkpoint,
}

impl Model {
    /// When a task may be switched.
    pub const fn leave(self) -> Leave {
        match self {
            Model::Immediate => Leave::Function,
            Model::Hybrid | Model::InTime => Leave::PatchedSet,
            Model::InThread | Model::Checkpoint => Leave::Kernel,
        }
    }

    /// What is switched at once.
    pub const fn switch(self) -> Switch {
        match self {
            Model::Immediate => Switch::Function,
            Model::Hybrid | Model::InThread => Switch::Thread,
            Model::InTime | Model::Checkpoint => Switch::Kernel,
        }
    }
}

/// A patch.
pub struct Patch<P: Platform> {
    /// The patch module's name.
    pub name: P::Name,
    /// Cumulative: takes the place of all patches enabled before.
    pub replace: bool,
    /// How it takes effect.
    pub model: Model,
    /// The system states it changes.
    pub states: P::List<SystemState>,
    /// The patch module's text: what must be free of tasks before the module may go.
    pub text: Range,
    /// The objects it changes.
    pub objects: P::List<Object<P>>,
    /// Its own relocations.
    pub relocations: Relocations<P>,
    pub(crate) id: PatchId,
    pub(crate) state: State,
    pub(crate) members: Members,
    pub(crate) unfinished: Unfinished,
    /// While draining: every task was seen outside its text since the last could have entered. While enabled: so it was when
    /// it was enabled.
    pub(crate) left: bool,
}

/// A part of the kernel that a patch changes: vmlinux or a module.
pub struct Object<P: Platform> {
    /// The module's name; `None` is vmlinux.
    pub name: Option<P::Name>,
    /// Its callbacks.
    pub callbacks: P::Callbacks,
    /// The functions to replace.
    pub funcs: P::List<Func<P>>,
    pub(crate) patched: bool,
    /// Its pre-patch callback succeeded: its post-unpatch callback is due when it is unpatched.
    pub(crate) prepared: bool,
    /// While it is being enabled: it was prepared before, by a life that still drains.
    pub(crate) was_prepared: bool,
}

/// A function to replace.
pub struct Func<P: Platform> {
    /// The symbol of the function to replace.
    pub name: P::Name,
    /// Its position among the object's symbols of that name, from 1, in the order of the symbol table; 0: there is
    /// only one.
    pub position: u64,
    /// The replacement: what a C function pointer to it holds.
    pub replacement: Addr,
    /// Text of the patch from which calls reach the original function; empty if there is none.
    pub original_caller: Range,
    pub(crate) site: Option<PatchSite>,
    /// Where its own slot goes, if it has no ftrace site.
    pub(crate) room: Option<Room>,
    /// Whether calls could reach the replacement since the site was found: a task may run it, and call the original.
    pub(crate) published: bool,
}

impl<P: Platform> Patch<P> {
    /// A patch without objects.
    pub fn new(name: P::Name, replace: bool, text: Range) -> Patch<P> {
        Patch {
            name,
            replace,
            model: Model::default(),
            states: P::List::default(),
            text,
            objects: P::List::default(),
            relocations: Relocations::default(),
            id: PatchId(0),
            state: State::Ready,
            members: Members::NONE,
            unfinished: Unfinished::Nothing,
            left: true,
        }
    }

    /// Adds an object without functions and returns it.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn add_object(
        &mut self,
        name: Option<P::Name>,
        callbacks: P::Callbacks,
    ) -> Result<&mut Object<P>, NoMemory> {
        self.objects.try_push(Object {
            name,
            callbacks,
            funcs: P::List::default(),
            patched: false,
            prepared: false,
            was_prepared: false,
        })?;
        self.objects.last_mut().ok_or(NoMemory)
    }

    /// How it is named from now on.
    pub fn id(&self) -> PatchId {
        self.id
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }
}

impl<P: Platform> Object<P> {
    /// Adds a function.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn add_func(
        &mut self,
        name: P::Name,
        position: u64,
        replacement: Addr,
        original_caller: Range,
    ) -> Result<(), NoMemory> {
        self.funcs.try_push(Func {
            name,
            position,
            replacement,
            original_caller,
            site: None,
            room: None,
            published: false,
        })
    }

    /// Whether its functions are redirected now.
    pub fn is_patched(&self) -> bool {
        self.patched
    }

    /// Its name as sysfs shows it.
    pub fn display_name(&self) -> &str {
        self.name.as_ref().map_or("vmlinux", AsRef::as_ref)
    }
}

impl<P: Platform> Func<P> {
    /// The patch site, once the symbol was found.
    pub fn site(&self) -> Option<PatchSite> {
        self.site
    }
}
