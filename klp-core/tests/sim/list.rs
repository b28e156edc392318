// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A list that grows by exactly what is asked for, so that every growth is an allocation that can fail.

use std::ops::{Deref, DerefMut};

use klp_core::platform::{List, NoMemory};

use super::fault::{self, Fault};

pub(crate) struct SimList<T> {
    items: Vec<T>,
    capacity: usize,
}

impl<T> Default for SimList<T> {
    fn default() -> SimList<T> {
        SimList { items: Vec::new(), capacity: 0 }
    }
}

impl<T> Deref for SimList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for SimList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<T> List<T> for SimList<T> {
    fn try_reserve(&mut self, additional: usize) -> Result<(), NoMemory> {
        let needed = self.items.len() + additional;
        if needed > self.capacity {
            if fault::due(Fault::Allocation) {
                return Err(NoMemory);
            }
            self.capacity = needed;
        }
        Ok(())
    }

    fn try_push(&mut self, value: T) -> Result<(), NoMemory> {
        self.try_reserve(1)?;
        self.items.push(value);
        Ok(())
    }

    fn remove(&mut self, index: usize) -> T {
        self.items.remove(index)
    }
}
