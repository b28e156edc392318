// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The code that a task must have left before it is switched.

use crate::Addr;
use crate::engine::Result;
use crate::engine::func_stack::{self, FuncStack};
use crate::error::Error;
use crate::patch::{Members, Object, Patch, PatchId, State};
use crate::platform::{List, Platform, Range};
use crate::universe::Universe;
use crate::unwind::Frame;

/// Ranges of text, by address and without overlaps.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a>(&'a [Range]);

impl<'a> Code<'a> {
    /// Ranges that are sorted and do not overlap.
    pub const fn new(ranges: &'a [Range]) -> Code<'a> {
        Code(ranges)
    }

    /// Where in it a task with this frame on its stack goes on when it comes back there, if it does.
    #[inline]
    pub fn held_at(&self, frame: &Frame) -> Option<Addr> {
        // Behind a call that is a function's last instruction, the return address is the next function's.
        let pc = if frame.cursor.exact { frame.cursor.pc } else { frame.cursor.pc.wrapping_sub(1) };
        self.contains(pc).then_some(pc)
    }

    fn contains(&self, pc: Addr) -> bool {
        let behind = self.0.partition_point(|range| range.start <= pc);
        behind.checked_sub(1).is_some_and(|index| self.0[index].contains(pc))
    }
}

/// Adds a range. On an error nothing is changed.
fn add<P: Platform>(ranges: &mut P::List<Range>, range: Range) -> Result<(), P> {
    if range.size == 0 {
        return Ok(());
    }
    ranges.try_push(range)?;
    // One at a time, into what is sorted: at the place where it belongs, or joined with what it touches.
    let mut at = ranges.len() - 1;
    while at > 0 && ranges[at - 1].start > ranges[at].start {
        ranges.swap(at - 1, at);
        at -= 1;
    }
    let mut index = 0;
    while index + 1 < ranges.len() {
        let (first, next) = (ranges[index], ranges[index + 1]);
        let end = first.start.saturating_add(first.size);
        if next.start <= end {
            ranges[index].size = end.max(next.start.saturating_add(next.size)) - first.start;
            ranges.remove(index + 1);
        } else {
            index += 1;
        }
    }
    Ok(())
}

/// The change of a universe that a transition is: what tasks must have left to be switched.
pub(super) struct Change<'a, P: Platform> {
    pub(super) platform: &'a P,
    pub(super) patches: &'a [Patch<P>],
    pub(super) stacks: &'a P::List<FuncStack<P>>,
    pub(super) patch: PatchId,
    pub(super) goal: Universe,
}

impl<P: Platform> Change<'_, P> {
    /// All of it.
    ///
    /// On the way in: the functions that change, in every version that may be running; what is stacked below may have been
    /// enabled in the immediate model, so tasks may still be in what that replaced. On the way out: all text of the patch,
    /// and, where it took the place of other patches, the originals of the functions that those will replace again.
    pub(super) fn code(&self) -> Result<P::List<Range>, P> {
        let mut ranges = P::List::default();
        // Members are changed when nothing can fail any more.
        let will_replace =
            |patch: &Patch<P>| patch.id == self.patch && patch.replace && patch.members == Members::NONE;
        let replaced = if self.patches.iter().any(will_replace) { Members::BOTH } else { Members::UNPATCHED };
        for patch in self.patches {
            let text_changes = match self.goal {
                Universe::Patched => patch.members == replaced,
                Universe::Unpatched => patch.id == self.patch,
            };
            if text_changes {
                add::<P>(&mut ranges, patch.text)?;
            }
            for object in patch.objects.iter().filter(|object| object.patched) {
                self.add_object(patch, object, &mut ranges)?;
            }
        }
        Ok(ranges)
    }

    /// What is to be added for an object of one of the patches.
    pub(super) fn add_object(
        &self,
        of: &Patch<P>,
        object: &Object<P>,
        ranges: &mut P::List<Range>,
    ) -> Result<(), P> {
        let functions_change = match self.goal {
            Universe::Patched => of.id == self.patch,
            Universe::Unpatched => of.members == Members::UNPATCHED,
        };
        for func in object.funcs.iter().filter(|_| functions_change) {
            let Some(site) = func.site else { continue };
            let mut added = Ok(());
            self.platform.each_part(object.name, func.name, site.function, &mut |part| {
                if part.size == 0 {
                    added = Err(Error::NoSize { func: func.name });
                } else if added.is_ok() {
                    added = add::<P>(ranges, part);
                }
            });
            added?;
            if self.goal == Universe::Patched {
                // A version that drains is in no stack any more, but tasks may run it.
                let draining =
                    self.patches.iter().filter(|patch| patch.state == State::Draining && !patch.left);
                for patch in draining {
                    let mut funcs = patch.objects.iter().flat_map(|object| object.funcs.iter());
                    if funcs.any(|other| other.site == func.site) {
                        add::<P>(ranges, patch.text)?;
                    }
                }
                func_stack::each_patch::<P>(self.stacks, func, |id| {
                    match self.patches.iter().find(|patch| patch.id == id && id != self.patch) {
                        Some(patch) => add::<P>(ranges, patch.text),
                        None => Ok(()),
                    }
                })?;
            }
        }
        Ok(())
    }
}
