// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Shadow variables with a type (`Documentation/livepatch/shadow-vars.rst`).

use core::ffi::{c_int, c_ulong, c_void};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::module::{
    klp_sdk_gfp, klp_sdk_shadow_alloc, klp_sdk_shadow_free, klp_sdk_shadow_free_all, klp_sdk_shadow_get,
    klp_sdk_shadow_get_or_alloc,
};
use crate::object::Errno;

/// How memory may be had: `gfp_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gfp {
    /// May sleep: `GFP_KERNEL`.
    Kernel,
    /// Must not sleep: `GFP_ATOMIC`.
    Atomic,
}

impl Gfp {
    fn flags(self) -> u32 {
        // SAFETY: any context.
        unsafe { klp_sdk_gfp(self == Gfp::Kernel) }
    }
}

/// The shadow variables of one id: for each object at most one `T`.
///
/// Attached to an object, which is any address that stands for it, a variable stays until it is freed; it outlives the patch,
/// and a later patch finds it.
///
/// ```ignore
/// // SAFETY: 7 is used for nothing else, and a Cell points at nothing.
/// static CALLS: Shadow<AtomicU32> = unsafe { Shadow::new(7) };
///
/// CALLS.get_or_alloc(object, Gfp::Atomic, || Ok(AtomicU32::new(0)))?.fetch_add(1, Relaxed);
/// ```
#[derive(Debug)]
pub struct Shadow<T>(c_ulong, PhantomData<fn() -> T>);

impl<T: Send + Sync + 'static> Shadow<T> {
    /// The variables with this id.
    ///
    /// # Safety
    ///
    /// Whoever uses the id, in this patch or in another, before or after it, means a `T` of the same layout. If a variable
    /// is not freed before this module goes, nothing in it points into the module.
    pub const unsafe fn new(id: c_ulong) -> Shadow<T> {
        // What the kernel's allocator guarantees for any size, behind klp.ko's own words.
        const { assert!(align_of::<T>() <= 8) };
        Shadow(id, PhantomData)
    }

    /// The object's variable: `klp_shadow_get()`. Any context in which RCU watches.
    pub fn get(&self, object: *const c_void) -> Option<&'static T> {
        // SAFETY: any address and id; what is found is a T, by `new`'s contract.
        unsafe { shared(klp_sdk_shadow_get(object.cast_mut(), self.0)) }
    }

    /// Attaches a variable that is not there yet: `klp_shadow_alloc()`. Any context but NMI, as far as `gfp` allows.
    ///
    /// `None` if there is no memory, or `make` refused; or the object has a variable, which the kernel warns of. `make` is
    /// called at most once, with interrupts off and a spinlock held: it must not sleep, nor attach or free variables.
    pub fn alloc(
        &self,
        object: *const c_void,
        gfp: Gfp,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Option<&'static T> {
        self.alloc_by(klp_sdk_shadow_alloc, object, gfp, make)
    }

    /// As that, but the variable that is there is as good: `klp_shadow_get_or_alloc()`.
    pub fn get_or_alloc(
        &self,
        object: *const c_void,
        gfp: Gfp,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Option<&'static T> {
        self.alloc_by(klp_sdk_shadow_get_or_alloc, object, gfp, make)
    }

    fn alloc_by<F: FnOnce() -> Result<T, Errno>>(
        &self,
        alloc: Alloc,
        object: *const c_void,
        gfp: Gfp,
        make: F,
    ) -> Option<&'static T> {
        let mut make = Some(make);
        // SAFETY: the constructor gets what it expects, and writes a T into memory that is large enough; what is there
        // already is a T, by `new`'s contract.
        unsafe {
            shared(alloc(
                object.cast_mut(),
                self.0,
                size_of::<T>(),
                gfp.flags(),
                Some(construct::<T, F>),
                (&raw mut make).cast(),
            ))
        }
    }

    /// Detaches the object's variable, if it has one, and drops it: `klp_shadow_free()`. Any context but NMI. It is dropped with
    /// interrupts off and a spinlock held.
    ///
    /// # Safety
    ///
    /// No reference to the variable is used any more, nor by somebody who is getting one now.
    pub unsafe fn free(&self, object: *const c_void) {
        // SAFETY: what is found is a T, by `new`'s contract; nobody uses it, by the caller's.
        unsafe { klp_sdk_shadow_free(object.cast_mut(), self.0, destroy_of::<T>()) };
    }

    /// As that, for all objects: `klp_shadow_free_all()`.
    ///
    /// # Safety
    ///
    /// No reference to any of the variables is used any more, nor by somebody who is getting one now.
    pub unsafe fn free_all(&self) {
        // SAFETY: as in `free`.
        unsafe { klp_sdk_shadow_free_all(self.0, destroy_of::<T>()) };
    }
}

/// `klp_shadow_ctor_t`
pub(crate) type Construct = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;
/// `klp_shadow_dtor_t`
pub(crate) type Destroy = unsafe extern "C" fn(*mut c_void, *mut c_void);
/// `klp_shadow_alloc()`
type Alloc =
    unsafe extern "C" fn(*mut c_void, c_ulong, usize, u32, Option<Construct>, *mut c_void) -> *mut c_void;

/// # Safety
///
/// Null, or a `T` that is not freed while the result is used.
unsafe fn shared<T>(data: *mut c_void) -> Option<&'static T> {
    // SAFETY: the caller's promise.
    NonNull::new(data.cast::<T>()).map(|data| unsafe { data.as_ref() })
}

/// # Safety
///
/// `data` has room for a `T`, `make` is an `Option<F>`.
unsafe extern "C" fn construct<T, F: FnOnce() -> Result<T, Errno>>(
    _object: *mut c_void,
    data: *mut c_void,
    make: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise; nobody else has it.
    let make = unsafe { &mut *make.cast::<Option<F>>() };
    match make.take().map_or(Err(Errno::EINVAL), |make| make()) {
        Ok(value) => {
            // SAFETY: the caller's promise; nobody finds it yet.
            unsafe { data.cast::<T>().write(value) };
            0
        }
        Err(errno) => errno.to_ret(),
    }
}

/// # Safety
///
/// `data` is a `T` that is not used any more.
unsafe extern "C" fn destroy<T>(_object: *mut c_void, data: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { ptr::drop_in_place(data.cast::<T>()) };
}

/// What drops a `T`, if there is anything to drop.
const fn destroy_of<T>() -> Option<Destroy> {
    if core::mem::needs_drop::<T>() { Some(destroy::<T>) } else { None }
}
