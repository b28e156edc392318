// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The model checker's atomics, whose orderings can be taken away, place by place in the source: an ordering is needed if a
//! model is refuted without it.

extern crate std;

use core::panic::Location;
use std::cell::RefCell;
use std::vec::Vec;

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;

/// A place in the source whose ordering is [`Ordering::Relaxed`], whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weakened {
    /// The end of the file's path.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// Whether it was executed.
    pub reached: bool,
}

std::thread_local! {
    /// The threads of a model take turns on the thread that checks it.
    static WEAKENED: RefCell<Vec<Weakened>> = const { RefCell::new(Vec::new()) };
}

/// Weakens these places, and no others, in the models that this thread checks from now on. Returns those before.
pub fn weaken(places: Vec<Weakened>) -> Vec<Weakened> {
    WEAKENED.replace(places)
}

#[track_caller]
fn left_of(ordering: Ordering) -> Ordering {
    let here = Location::caller();
    WEAKENED.with_borrow_mut(|places| {
        let is_here = |place: &&mut Weakened| place.line == here.line() && here.file().ends_with(place.file);
        places.iter_mut().find(is_here).map_or(ordering, |place| {
            place.reached = true;
            Ordering::Relaxed
        })
    })
}

macro_rules! checked {
    ($name:ident $(<$param:ident>)?, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name $(<$param>)? (atomic::$name $(<$param>)?);

        impl $(<$param>)? $name $(<$param>)? {
            #[track_caller]
            pub(crate) fn new(value: $value) -> Self {
                $name(atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                self.0.load(left_of(ordering))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                self.0.store(value, left_of(ordering));
            }
        }
    };
}

checked!(AtomicU32, u32);
checked!(AtomicU64, u64);
checked!(AtomicPtr<T>, *mut T);

impl AtomicU32 {
    #[track_caller]
    pub(crate) fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
        self.0.fetch_or(bits, left_of(ordering))
    }

    #[track_caller]
    pub(crate) fn fetch_and(&self, bits: u32, ordering: Ordering) -> u32 {
        self.0.fetch_and(bits, left_of(ordering))
    }

    #[track_caller]
    pub(crate) fn fetch_add(&self, value: u32, ordering: Ordering) -> u32 {
        self.0.fetch_add(value, left_of(ordering))
    }
}

impl Default for AtomicU32 {
    #[track_caller]
    fn default() -> AtomicU32 {
        AtomicU32::new(0)
    }
}

impl Default for AtomicU64 {
    #[track_caller]
    fn default() -> AtomicU64 {
        AtomicU64::new(0)
    }
}
