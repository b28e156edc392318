// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patched function and the replacements stacked on it.

use crate::engine::Result;
use crate::error::Error;
use crate::ftrace::PatchSite;
use crate::patch::{Func, Members, PatchId};
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

    /// Lets the callback see what runs: the topmost entry, in each universe.
    fn publish(&self, members: &impl Fn(PatchId) -> Members) {
        let top = |is_member: fn(Members) -> bool| {
            let entry = self.entries.iter().rfind(|entry| is_member(members(entry.patch)));
            entry.map(|entry| entry.replacement)
        };
        let (unpatched, patched) = (top(|members| members.unpatched), top(|members| members.patched));
        if unpatched == patched {
            self.hook.redirect().settle(patched);
        } else {
            self.hook.redirect().decide(unpatched, patched);
        }
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

/// Puts a replacement on top of its function's stack and hooks the function. Calls still go where they went, until the
/// patch is a member of a universe and the stack is [`publish`]ed.
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

/// Lets calls of a function, or of all (`None`), go where the members of the universes say.
pub(super) fn publish<P: Platform>(
    stacks: &P::List<FuncStack<P>>,
    func: Option<&Func<P>>,
    members: impl Fn(PatchId) -> Members,
) {
    for stack in stacks.iter().filter(|stack| func.is_none_or(|func| func.site == Some(stack.site))) {
        stack.publish(&members);
    }
}

/// Takes [`push`] back: the replacement was never published.
pub(super) fn cancel<P: Platform>(stacks: &mut P::List<FuncStack<P>>, patch: PatchId, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].take(patch);
        if !func.published {
            stacks[index].hook.redirect().remove_original_caller(func.original_caller);
        }
        settle::<P>(stacks, index);
    }
}

/// Takes the replacement of a patch that is no member of a universe any more off its function's stack, wherever in the
/// stack it is. The last entry takes the hook with it.
pub(super) fn remove<P: Platform>(stacks: &mut P::List<FuncStack<P>>, patch: PatchId, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].take(patch);
        settle::<P>(stacks, index);
    }
}

/// Calls `each` with the patches that replace a function, in stacking order.
pub(super) fn each_patch<P: Platform>(
    stacks: &P::List<FuncStack<P>>,
    func: &Func<P>,
    mut each: impl FnMut(PatchId) -> Result<(), P>,
) -> Result<(), P> {
    match index_of(stacks, func) {
        Some(index) => stacks[index].entries.iter().try_for_each(|entry| each(entry.patch)),
        None => Ok(()),
    }
}

/// Frees the place that a function's original caller took. No task may run it any more.
pub(super) fn forget_original_caller<P: Platform>(stacks: &mut P::List<FuncStack<P>>, func: &Func<P>) {
    if let Some(index) = index_of(stacks, func) {
        stacks[index].hook.redirect().remove_original_caller(func.original_caller);
        settle::<P>(stacks, index);
    }
}
