// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patched function and the replacements stacked on it.

use crate::engine::Result;
use crate::error::Error;
use crate::ftrace::PatchSite;
use crate::patch::{Func, Members, PatchId};
use crate::platform::{Entry, Hook, List, Platform, Range};
use crate::{Addr, FtraceRedirect};

/// The replacements of one function; the last one runs.
///
/// It is hooked while there are any, and exists as long as it is hooked or tasks may run original callers: should it
/// be hooked again, they still reach the original.
pub(super) struct FuncStack<P: Platform> {
    site: PatchSite,
    hook: P::Hook,
    replacements: P::List<Replacement<P::Name>>,
    /// Since calls last changed: a cheaper entry was asked for.
    asked: bool,
}

#[derive(Clone, Copy)]
struct Replacement<N> {
    patch: PatchId,
    func: N,
    addr: Addr,
}

impl<P: Platform> FuncStack<P> {
    /// Calls that ran the original because a task's return stack was full.
    pub(super) fn missed(&self) -> u32 {
        self.hook.redirect().missed()
    }

    /// What runs in the two universes, unpatched and patched: the topmost replacement of a member.
    fn targets(&self, members: &impl Fn(PatchId) -> Members) -> (Option<Addr>, Option<Addr>) {
        let top = |is_member: fn(Members) -> bool| {
            let top = self.replacements.iter().rfind(|replacement| is_member(members(replacement.patch)));
            top.map(|replacement| replacement.addr)
        };
        (top(|members| members.unpatched), top(|members| members.patched))
    }

    /// Lets the callback see what runs.
    fn publish(&self, members: &impl Fn(PatchId) -> Members) {
        let (unpatched, patched) = self.targets(members);
        if unpatched == patched {
            self.hook.redirect().settle(patched);
        } else {
            debug_assert!(self.hook.entry() == Entry::Callback, "only the callback decides for each task");
            self.hook.redirect().decide(unpatched, patched);
        }
    }

    /// Has the callback decide, since what calls reach is about to change.
    fn enter_by_callback(&mut self) -> Result<(), P> {
        self.asked = false;
        match self.replacements.last() {
            Some(&Replacement { func, .. }) if self.hook.entry() != Entry::Callback => {
                self.hook.enter_by_callback().map_err(|errno| Error::Hook { func, errno })
            }
            _ => Ok(()),
        }
    }

    /// Where all calls go, if a cheaper entry than the callback would do and has not been asked for.
    fn settled_target(&self, members: &impl Fn(PatchId) -> Members) -> Option<Addr> {
        let by_callback = self.hook.entry() == Entry::Callback;
        if self.asked || !by_callback || self.hook.redirect().has_original_callers() {
            return None;
        }
        let (unpatched, patched) = self.targets(members);
        patched.filter(|_| unpatched == patched)
    }

    /// As the function of the same name; an error leaves a stack that may be unused.
    fn push(&mut self, platform: &P, patch: PatchId, func: &Func<P>) -> Result<(), P> {
        self.enter_by_callback()?;
        self.replacements.try_reserve(1)?;
        if self.replacements.is_empty() {
            if P::Arch::PROBE_UNDOES_REDIRECT && platform.has_probe(self.site.site) {
                return Err(Error::Probed { func: func.name });
            }
            self.hook.arm().map_err(|errno| match func.room {
                Some(room) if platform.has_probe(room.site) => Error::Probed { func: func.name },
                _ => Error::Hook { func: func.name, errno },
            })?;
        }
        let caller = func.original_caller;
        if caller != Range::default() && !self.hook.redirect().add_original_caller(caller) {
            return Err(Error::TooManyOriginalCallers { func: func.name });
        }
        self.replacements.try_push(Replacement { patch, func: func.name, addr: func.replacement })?;
        Ok(())
    }

    /// Takes the newest replacement of a patch away.
    fn take(&mut self, patch: PatchId) {
        if let Some(index) = self.replacements.iter().rposition(|replacement| replacement.patch == patch) {
            self.replacements.remove(index);
        }
    }
}

fn index_of<P: Platform>(stacks: &P::List<FuncStack<P>>, func: &Func<P>) -> Option<usize> {
    stacks.iter().position(|stack| func.site == Some(stack.site))
}

/// Frees what a stack needs no more.
fn settle<P: Platform>(stacks: &mut P::List<FuncStack<P>>, index: usize) {
    let stack = &mut stacks[index];
    if stack.replacements.is_empty() {
        stack.hook.disarm();
        stack.asked = false;
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
            let hook = platform.new_hook(site, func.room)?;
            stacks.try_push(FuncStack { site, hook, replacements: P::List::default(), asked: false })?;
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

/// Has the callback decide about the functions of all patches that `changes` names: from then on they may be published
/// with other members.
///
/// On an error some may be with the callback already, which changes no call.
pub(super) fn enter_by_callback<P: Platform>(
    stacks: &mut P::List<FuncStack<P>>,
    changes: impl Fn(PatchId) -> bool,
) -> Result<(), P> {
    for stack in stacks.iter_mut() {
        if stack.replacements.iter().any(|replacement| changes(replacement.patch)) {
            stack.enter_by_callback()?;
        }
    }
    Ok(())
}

/// Whether some function could have a cheaper entry than the callback, and has not been asked yet.
pub(super) fn is_any_settled<P: Platform>(
    stacks: &P::List<FuncStack<P>>,
    members: impl Fn(PatchId) -> Members,
) -> bool {
    stacks.iter().any(|stack| stack.settled_target(&members).is_some())
}

/// Has one function entered by the cheapest way there is. Answers whether there was one that had not been asked yet.
pub(super) fn enter_one_cheaply<P: Platform>(
    stacks: &mut P::List<FuncStack<P>>,
    members: impl Fn(PatchId) -> Members,
) -> bool {
    for stack in stacks.iter_mut() {
        if let Some(target) = stack.settled_target(&members) {
            stack.asked = true;
            stack.hook.enter_cheaply(target);
            return true;
        }
    }
    false
}

/// What sends calls of a function to what replaces it, if anything does.
pub(super) fn hook<'a, P: Platform + 'a>(
    stacks: &'a P::List<FuncStack<P>>,
    func: &Func<P>,
) -> Option<&'a P::Hook> {
    let stack = &stacks[index_of(stacks, func)?];
    (!stack.replacements.is_empty()).then_some(&stack.hook)
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
/// stack it is. The last one takes the hook with it.
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
        Some(index) => stacks[index].replacements.iter().try_for_each(|replacement| each(replacement.patch)),
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
