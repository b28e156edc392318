// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patched function and the replacements stacked on it.

use crate::engine::Result;
use crate::error::Error;
use crate::ftrace::PatchSite;
use crate::patch::{Func, PatchId};
use crate::platform::{Hook, List, Platform, Range};
use crate::{Addr, FtraceRedirect};

/// The replacements of one function; the last one runs.
///
/// It is hooked while there are any, and exists as long as it is hooked or tasks may run original callers: should it
/// be hooked again, they still reach the original.
pub(super) struct FuncStack<P: Platform> {
    site: PatchSite,
    hook: P::Hook,
    entries: P::List<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    patch: PatchId,
    replacement: Addr,
}

impl<P: Platform> FuncStack<P> {
    /// Calls that ran the original because a task's return stack was full.
    pub(super) fn missed(&self) -> u32 {
        self.hook.redirect().missed()
    }

    /// Lets the callback see the entry on top.
    fn publish(&self) {
        self.hook.redirect().set_target(self.entries.last().map(|entry| entry.replacement));
    }

    /// As the function of the same name; an error leaves a stack that may be unused.
    fn push(&mut self, platform: &P, patch: PatchId, func: &Func<P>) -> Result<(), P> {
        self.entries.try_reserve(1)?;
        if self.entries.is_empty() {
            if P::Arch::PROBE_UNDOES_REDIRECT && platform.has_probe(self.site.site) {
                return Err(Error::Probed { func: func.name });
            }
            self.hook.arm().map_err(|errno| Error::Hook { func: func.name, errno })?;
        }
        let caller = func.original_caller;
        if caller != Range::default() && !self.hook.redirect().add_original_caller(caller) {
            return Err(Error::TooManyOriginalCallers { func: func.name });
        }
        self.entries.try_push(Entry { patch, replacement: func.replacement })?;
        Ok(())
    }

    /// Takes the newest entry of a patch away.
    fn take(&mut self, patch: PatchId) {
        if let Some(entry) = self.entries.iter().rposition(|entry| entry.patch == patch) {
            self.entries.remove(entry);
        }
    }
}

fn index_of<P: Platform>(stacks: &P::List<FuncStack<P>>, func: &Func<P>) -> Option<usize> {
    stacks.iter().position(|stack| func.site == Some(stack.site))
}

/// Frees what a stack needs no more.
fn settle<P: Platform>(stacks: &mut P::List<FuncStack<P>>, index: usize) {
    let stack = &mut stacks[index];
    if stack.entries.is_empty() {
        stack.hook.disarm();
        if !stack.hook.redirect().has_original_callers() {
            stacks.remove(index);
        }
    }
}

/// Puts a replacement on top of its function's stack and hooks the function. Calls still go where they went, until
/// [`publish`].
///
/// On an error the stacks are as they were.
pub(super) fn push<P: Platform>(
    platform: &P,
    stacks: &mut P::List<FuncStack<P>>,
    patch: PatchId,
    func: &Func<P>,
) -> Result<(), P> {
    let Some(site) = func.site else {
        return Err(Error::NotTraceable { func: func.name, addr: 0 });
    };
    let index = match index_of(stacks, func) {
        Some(index) => index,
        None => {
            let hook = platform.new_hook(site.site)?;
            stacks.try_push(FuncStack { site, hook, entries: P::List::default() })?;
            stacks.len() - 1
        }
    };
    let pushed = stacks[index].push(platform, patch, func);
    if pushed.is_err() {
        settle::<P>(stacks, index);
    }
    pushed
}

/// Lets calls of the function reach the replacement on top of its stack.
pub(super) fn publish<P: Platform>(stacks: &P::List<FuncStack<P>>, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].publish();
    }
}

/// Takes [`push`] back: the replacement was not published.
pub(super) fn cancel<P: Platform>(stacks: &mut P::List<FuncStack<P>>, patch: PatchId, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].take(patch);
        if !func.published {
            stacks[index].hook.redirect().remove_original_caller(func.original_caller);
        }
        settle::<P>(stacks, index);
    }
}

/// Takes a patch's replacement off its function's stack, wherever in the stack it is. The function runs what is then
/// on top; the last entry takes the hook with it.
pub(super) fn remove<P: Platform>(stacks: &mut P::List<FuncStack<P>>, patch: PatchId, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].take(patch);
        stacks[index].publish();
        settle::<P>(stacks, index);
    }
}

/// Frees the place that a function's original caller took. No task may run it any more.
pub(super) fn forget_original_caller<P: Platform>(stacks: &mut P::List<FuncStack<P>>, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].hook.redirect().remove_original_caller(func.original_caller);
        settle::<P>(stacks, index);
    }
}
