// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The code that a task must have left before it is switched.

use crate::Addr;
use crate::engine::Result;
use crate::engine::func_stack::{self, FuncStack};
use crate::error::Error;
use crate::patch::{Members, Object, Patch, PatchId, State};
use crate::platform::{List, NoMemory, Platform, Range};
use crate::universe::Universe;
use crate::unwind::Frame;

/// Ranges of text, by address and without overlaps.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    ranges: &'a [Range],
    /// From the first to the last: most frames are in none.
    all: Range,
}

impl<'a> Code<'a> {
    /// Ranges that are sorted and do not overlap.
    pub const fn new(ranges: &'a [Range]) -> Code<'a> {
        let all = match (ranges.first(), ranges.last()) {
            (Some(first), Some(last)) => Range {
                start: first.start,
                size: last.start.wrapping_sub(first.start).wrapping_add(last.size),
            },
            _ => Range { start: 0, size: 0 },
        };
        Code { ranges, all }
    }

    /// Where in it a task with this frame on its stack goes on when it comes back there, if it does.
    #[inline]
    pub fn held_at(&self, frame: &Frame) -> Option<Addr> {
        // Behind a call that is a function's last instruction, the return address is the next function's.
        let pc = if frame.cursor.exact { frame.cursor.pc } else { frame.cursor.pc.wrapping_sub(1) };
        (self.all.contains(pc) && self.contains(pc)).then_some(pc)
    }

    fn contains(&self, pc: Addr) -> bool {
        let behind = self.ranges.partition_point(|range| range.start <= pc);
        behind.checked_sub(1).is_some_and(|index| self.ranges[index].contains(pc))
    }
}

/// Adds a range. On an error nothing is changed.
fn add(ranges: &mut impl List<Range>, range: Range) -> core::result::Result<(), NoMemory> {
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
                add(&mut ranges, patch.text)?;
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
                    added = add(ranges, part).map_err(Error::from);
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
                        add(ranges, patch.text)?;
                    }
                }
                func_stack::each_patch::<P>(self.stacks, func, |id| {
                    match self.patches.iter().find(|patch| patch.id == id && id != self.patch) {
                        Some(patch) => Ok(add(ranges, patch.text)?),
                        None => Ok(()),
                    }
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use core::ops::{Deref, DerefMut};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::unwind::{Cursor, Found};

    /// A list with room for so many.
    #[derive(Default)]
    struct Ranges(Vec<Range>, usize);

    impl Deref for Ranges {
        type Target = [Range];

        fn deref(&self) -> &[Range] {
            &self.0
        }
    }

    impl DerefMut for Ranges {
        fn deref_mut(&mut self) -> &mut [Range] {
            &mut self.0
        }
    }

    impl List<Range> for Ranges {
        fn try_reserve(&mut self, additional: usize) -> core::result::Result<(), NoMemory> {
            if self.0.len() + additional <= self.1 { Ok(()) } else { Err(NoMemory) }
        }

        fn try_push(&mut self, range: Range) -> core::result::Result<(), NoMemory> {
            self.try_reserve(1)?;
            self.0.push(range);
            Ok(())
        }

        fn remove(&mut self, index: usize) -> Range {
            self.0.remove(index)
        }
    }

    fn joined(ranges: &[(Addr, u64)]) -> Vec<(Addr, u64)> {
        let mut list = Ranges(Vec::new(), 16);
        for &(start, size) in ranges {
            add(&mut list, Range { start, size }).expect("room");
        }
        list.iter().map(|range| (range.start, range.size)).collect()
    }

    fn held(ranges: &[Range], pc: Addr, exact: bool) -> Option<Addr> {
        let cursor = Cursor { pc, sp: 0, fp: 0, exact };
        Code::new(ranges).held_at(&Frame { cursor, found: Found::Chain })
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        assert_eq!(joined(&[(0x20, 0x10), (0x40, 0x10)]), [(0x20, 0x10), (0x40, 0x10)], "apart");
        assert_eq!(joined(&[(0x20, 0x10), (0x30, 0x10)]), [(0x20, 0x20)], "the next begins where one ends");
        assert_eq!(joined(&[(0x30, 0x10), (0x20, 0x10)]), [(0x20, 0x20)], "in any order");
        assert_eq!(joined(&[(0x20, 0x18), (0x30, 0x10)]), [(0x20, 0x20)], "they share some");
        assert_eq!(joined(&[(0x20, 0x40), (0x30, 0x10)]), [(0x20, 0x40)], "one in the other");
        assert_eq!(joined(&[(0x20, 8), (0x20, 0x40), (0x20, 8)]), [(0x20, 0x40)], "the same start");
        assert_eq!(
            joined(&[(0x20, 8), (0x40, 8), (0x60, 8), (0x28, 0x38)]),
            [(0x20, 0x48)],
            "one joins three"
        );
        assert_eq!(joined(&[(0x20, 0), (0x40, 8)]), [(0x40, 8)], "what is empty is nothing");
    }

    #[test]
    fn without_memory_for_a_range_there_are_those_from_before() {
        let mut list = Ranges(Vec::new(), 2);
        for start in [0x40, 0x20] {
            add(&mut list, Range { start, size: 8 }).expect("room");
        }
        let before = list.0.clone();
        assert_eq!(add(&mut list, Range { start: 0x10, size: 8 }), Err(NoMemory));
        assert_eq!(list.0, before);
        assert_eq!(add(&mut list, Range { start: 0x10, size: 0 }), Ok(()), "nothing needs no memory");
    }

    #[test]
    fn a_return_address_may_lie_one_byte_behind_its_function() {
        let ranges = [Range { start: 0x1000, size: 0x40 }, Range { start: 0x1080, size: 0x40 }];
        for start in [0x1000, 0x1080] {
            assert_eq!(held(&ranges, start, false), None, "behind a call before the function");
            assert_eq!(held(&ranges, start + 1, false), Some(start));
            assert_eq!(
                held(&ranges, start + 0x40, false),
                Some(start + 0x3f),
                "the call is the last instruction"
            );
            assert_eq!(held(&ranges, start + 0x41, false), None);
            assert_eq!(held(&ranges, start - 1, true), None);
            assert_eq!(held(&ranges, start, true), Some(start), "interrupted at the first instruction");
            assert_eq!(held(&ranges, start + 0x3f, true), Some(start + 0x3f));
            assert_eq!(
                held(&ranges, start + 0x40, true),
                None,
                "interrupted at the next function's first instruction"
            );
        }
        assert_eq!((held(&ranges, 0, false), held(&ranges, 0, true)), (None, None));
        assert_eq!((held(&[], 0x1000, false), held(&[], 0x1000, true)), (None, None));
    }

    proptest! {
        #[test]
        fn an_address_is_held_if_a_range_has_it(
            ranges in proptest::collection::vec((0..200u64, 0..30u64), 0..16),
        ) {
            let joined = joined(&ranges);
            prop_assert!(joined.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "sorted, apart: {joined:?}");
            let list: Vec<Range> = joined.iter().map(|&(start, size)| Range { start, size }).collect();
            for pc in 0..240 {
                let inside = ranges.iter().any(|&(start, size)| (start..start + size).contains(&pc));
                prop_assert_eq!(held(&list, pc, true), inside.then_some(pc));
                prop_assert_eq!(held(&list, pc + 1, false), inside.then_some(pc));
            }
        }
    }
}
