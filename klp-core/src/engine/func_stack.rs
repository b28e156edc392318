// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patched function and the replacements stacked on it.

use crate::Addr;
use crate::engine::Result;
use crate::error::Error;
use crate::ftrace::PatchSite;
use crate::patch::{Func, PatchId};
use crate::platform::{Hook, List, Platform, Range};

/// The replacements of one function; the last one runs.
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
    let entry = Entry { patch, replacement: func.replacement };
    if let Some(stack) = stacks.iter_mut().find(|stack| stack.site == site) {
        stack.entries.try_reserve(1)?;
        add_original_caller(stack, func)?;
        stack.entries.try_push(entry)?;
        return Ok(());
    }
    stacks.try_reserve(1)?;
    let mut stack = FuncStack::<P> { site, hook: platform.new_hook(site.site)?, entries: P::List::default() };
    stack.entries.try_push(entry)?;
    add_original_caller(&stack, func)?;
    stack.hook.arm().map_err(|errno| Error::Hook { func: func.name, errno })?;
    stacks.try_push(stack)?;
    Ok(())
}

/// Lets calls of the function reach the replacement on top of its stack.
pub(super) fn publish<P: Platform>(stacks: &P::List<FuncStack<P>>, func: &Func<P>) {
    if let Some(stack) = stacks.iter().find(|stack| func.site == Some(stack.site)) {
        stack.publish();
    }
}

/// Takes a patch's replacement off its function's stack, wherever in the stack it is. The function runs what is then
/// on top; the last entry takes the hook with it.
pub(super) fn remove<P: Platform>(stacks: &mut P::List<FuncStack<P>>, patch: PatchId, func: &Func<P>) {
    let Some(index) = stacks.iter().position(|stack| func.site == Some(stack.site)) else { return };
    let stack = &mut stacks[index];
    let Some(entry) = stack.entries.iter().position(|entry| entry.patch == patch) else { return };
    stack.entries.remove(entry);
    stack.publish();
    if stack.entries.is_empty() {
        stack.hook.disarm();
        stacks.remove(index);
    }
}

fn add_original_caller<P: Platform>(stack: &FuncStack<P>, func: &Func<P>) -> Result<(), P> {
    if func.original_caller == Range::default()
        || stack.hook.redirect().add_original_caller(func.original_caller)
    {
        return Ok(());
    }
    Err(Error::TooManyOriginalCallers { func: func.name })
}

/// Frees the place that a function's original caller took. No task may run it any more.
pub(super) fn forget_original_caller<P: Platform>(stacks: &P::List<FuncStack<P>>, func: &Func<P>) {
    if let Some(stack) = stacks.iter().find(|stack| func.site == Some(stack.site)) {
        stack.hook.redirect().remove_original_caller(func.original_caller);
    }
}
