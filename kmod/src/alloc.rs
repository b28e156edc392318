// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Kernel memory, with fault injection by the module parameter `fail_nth`.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI32, Ordering};

use klp_core::platform::{List, NoMemory};

use crate::ffi;

/// Allocates `size` bytes of zeroed memory, aligned for any of our types; may sleep. Freed by [`free`].
pub(crate) fn alloc(size: usize) -> Result<NonNull<c_void>, NoMemory> {
    if fault_due() {
        return Err(NoMemory);
    }
    // SAFETY: the shim's allocator takes any size; we are in process context.
    NonNull::new(unsafe { ffi::klp_shim_alloc(size) }).ok_or(NoMemory)
}

/// Frees memory from [`alloc`].
///
/// # Safety
///
/// `memory` came from [`alloc`], was not freed yet, and nothing uses it any more.
pub(crate) unsafe fn free(memory: NonNull<c_void>) {
    // SAFETY: the caller's promise is kvfree's.
    unsafe { ffi::klp_shim_free(memory.as_ptr()) };
}

/// Counts the module parameter down, and answers whether this allocation is the one that fails. Any context: shadow
/// variables are allocated wherever patches want them, on several CPUs at once.
pub(crate) fn fault_due() -> bool {
    // SAFETY: an aligned int that lives as long as the module; the kernel's parameter code, which writes it for users of
    // sysfs, does that with one store.
    let counter = unsafe { AtomicI32::from_ptr(&raw mut ffi::klp_shim_fail_nth) };
    // Off is the usual case, and costs a load.
    counter.load(Ordering::Relaxed) > 0
        && counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left - 1))
            == Ok(1)
}

/// A growable array in kernel memory.
pub(crate) struct KList<T> {
    items: NonNull<T>,
    len: usize,
    capacity: usize,
    owns: PhantomData<T>,
}

impl<T> KList<T> {
    /// So many items, all of whose bytes are zero.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    ///
    /// # Safety
    ///
    /// Zero bytes are a `T`.
    pub(crate) unsafe fn zeroed(len: usize) -> Result<KList<T>, NoMemory> {
        let mut list = KList::default();
        // The memory comes zeroed.
        list.try_reserve(len)?;
        list.len = len;
        Ok(list)
    }
}

impl<T> Default for KList<T> {
    fn default() -> KList<T> {
        KList { items: NonNull::dangling(), len: 0, capacity: 0, owns: PhantomData }
    }
}

impl<T> Deref for KList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` items are initialised; dangling and aligned while there are none.
        unsafe { core::slice::from_raw_parts(self.items.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for KList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.items.as_ptr(), self.len) }
    }
}

impl<T> List<T> for KList<T> {
    fn try_reserve(&mut self, additional: usize) -> Result<(), NoMemory> {
        const { assert!(align_of::<T>() <= 8) };
        let needed = self.len.checked_add(additional).ok_or(NoMemory)?;
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed.max(self.capacity.saturating_mul(2)).max(4);
        let items = alloc(capacity.checked_mul(size_of::<T>().max(1)).ok_or(NoMemory)?)?.cast::<T>();
        // SAFETY: the new memory has room for `len` items and does not overlap the old; the items are moved, the old
        // memory is freed without dropping them, and was ours if there was any capacity.
        unsafe {
            ptr::copy_nonoverlapping(self.items.as_ptr(), items.as_ptr(), self.len);
            if self.capacity > 0 {
                free(self.items.cast());
            }
        }
        self.items = items;
        self.capacity = capacity;
        Ok(())
    }

    fn try_push(&mut self, value: T) -> Result<(), NoMemory> {
        self.try_reserve(1)?;
        // SAFETY: `try_reserve` made room for the item at `len`, which is not initialised yet.
        unsafe { self.items.add(self.len).write(value) };
        self.len += 1;
        Ok(())
    }

    fn remove(&mut self, index: usize) -> T {
        assert!(index < self.len);
        // SAFETY: the item at `index` is initialised and moved out; those behind it move down over it, and the last
        // place is not counted any more.
        unsafe {
            let place = self.items.add(index);
            let value = place.read();
            ptr::copy(place.add(1).as_ptr(), place.as_ptr(), self.len - index - 1);
            self.len -= 1;
            value
        }
    }
}

impl<T> Drop for KList<T> {
    fn drop(&mut self) {
        let items = ptr::slice_from_raw_parts_mut(self.items.as_ptr(), self.len);
        // SAFETY: the items are initialised and dropped once; the memory came from `alloc` if there is capacity.
        unsafe {
            ptr::drop_in_place(items);
            if self.capacity > 0 {
                free(self.items.cast());
            }
        }
    }
}
