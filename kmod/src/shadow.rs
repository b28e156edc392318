// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Shadow variables: data attached to an object by the object's address and an id
//! (`Documentation/livepatch/shadow-vars.rst`).
//!
//! A hash table of chains. Readers walk a chain under RCU and take no lock; who changes one holds a spinlock. A variable that
//! is taken out keeps its own link, so that a reader who is there walks on, and is freed after a grace period.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_ulong, c_void};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::alloc;
use crate::ffi;

/// `klp_shadow_ctor_t`
type Construct = unsafe extern "C" fn(obj: *mut c_void, data: *mut c_void, ctor_data: *mut c_void) -> c_int;
/// `klp_shadow_dtor_t`
type Destroy = unsafe extern "C" fn(obj: *mut c_void, data: *mut c_void);

/// What a variable is found by.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    obj: *mut c_void,
    id: c_ulong,
}

/// `struct klp_shadow`, whose data follows.
#[repr(C)]
pub(crate) struct Shadow {
    next: Link,
    key: Key,
    /// RCU's, once it is freed.
    rcu: UnsafeCell<[usize; 2]>,
}
const _: () = assert!(size_of::<Shadow>() == 40);

/// Where a chain goes on. What it points at is freed no earlier than a grace period after it was taken out.
#[repr(transparent)]
struct Link(AtomicPtr<Shadow>);

const CHAINS_LOG2: u32 = 12;
static CHAINS: [Link; 1 << CHAINS_LOG2] = [const { Link(AtomicPtr::new(ptr::null_mut())) }; 1 << CHAINS_LOG2];

/// The chain that the variables of an object are in. Multiplicative hashing: 2^64 by the golden ratio spreads addresses, whose
/// low bits are alike.
fn chain_of(obj: *mut c_void) -> &'static Link {
    let hash = (obj.addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &CHAINS[(hash >> (u64::BITS - CHAINS_LOG2)) as usize]
}

/// As long as it exists, no variable that is reached is freed.
trait Held {}

/// An RCU read-side critical section. Any context in which RCU watches.
struct Reading;

impl Reading {
    fn begin() -> Reading {
        // SAFETY: given up in `drop`; it nests.
        unsafe { ffi::klp_shim_shadow_read_lock() };
        Reading
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // SAFETY: taken in `begin`.
        unsafe { ffi::klp_shim_shadow_read_unlock() };
    }
}

impl Held for Reading {}

/// The lock, held, with interrupts off: only its holder frees variables.
struct Locked {
    flags: c_ulong,
}

impl Locked {
    fn lock() -> Locked {
        // SAFETY: not in NMI, and not held by this CPU: constructors and destructors, which run under it, may only read.
        Locked { flags: unsafe { ffi::klp_shim_shadow_lock() } }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: taken in `lock`, with these flags.
        unsafe { ffi::klp_shim_shadow_unlock(self.flags) };
    }
}

impl Held for Locked {}

/// A variable that is not freed for as long as `'a`.
#[derive(Clone, Copy)]
struct Found<'a>(NonNull<Shadow>, PhantomData<&'a Shadow>);

impl<'a> Found<'a> {
    fn head(self) -> &'a Shadow {
        // SAFETY: it came from `Link::get`, whose holder outlives `'a`; the key is not written any more.
        unsafe { self.0.as_ref() }
    }

    fn data(self) -> *mut c_void {
        self.0.as_ptr().wrapping_add(1).cast()
    }
}

impl Link {
    /// The variable it points at. Acquire: what its constructor wrote is seen.
    fn get<'a>(&self, _: &'a impl Held) -> Option<Found<'a>> {
        NonNull::new(self.0.load(Ordering::Acquire)).map(|shadow| Found(shadow, PhantomData))
    }

    fn set(&self, next: *mut Shadow) {
        self.0.store(next, Ordering::Release);
    }
}

fn find(held: &impl Held, key: Key) -> Option<Found<'_>> {
    let mut next = chain_of(key.obj).get(held);
    while let Some(found) = next {
        if found.head().key == key {
            break;
        }
        next = found.head().next.get(held);
    }
    next
}

/// Takes the variables that match out of a chain, and frees them. Returns their number.
fn free_matching(
    locked: &Locked,
    chain: &Link,
    matches: impl Fn(Key) -> bool,
    destroy: Option<Destroy>,
) -> usize {
    let mut freed = 0;
    let mut link = chain;
    while let Some(found) = link.get(locked) {
        let Shadow { next, key, .. } = found.head();
        if !matches(*key) {
            link = next;
            continue;
        }
        link.set(next.0.load(Ordering::Relaxed));
        freed += 1;
        // SAFETY: the caller of klp_shadow_free() gave it for variables like this one. Nobody finds this one any more, and
        // nobody else frees it: the lock is held.
        unsafe {
            if let Some(destroy) = destroy {
                destroy(key.obj, found.data());
            }
            ffi::klp_shim_shadow_free(found.0.as_ptr());
        }
    }
    freed
}

/// A variable that nobody can find yet.
struct Fresh(NonNull<Shadow>);

impl Fresh {
    fn new(key: Key, size: usize, gfp: u32) -> Option<Fresh> {
        if alloc::fault_due() {
            return None;
        }
        // SAFETY: the flags are those of the caller, who knows the context.
        let shadow = NonNull::new(unsafe { ffi::klp_shim_shadow_new(size, gfp) })?;
        // SAFETY: zeroed memory of a Shadow and `size` bytes, ours alone.
        unsafe { (*shadow.as_ptr()).key = key };
        Some(Fresh(shadow))
    }

    fn data(&self) -> *mut c_void {
        self.0.as_ptr().wrapping_add(1).cast()
    }

    /// Puts it at the front of its chain.
    fn publish(self, _: &Locked) -> *mut c_void {
        let data = self.data();
        // SAFETY: still ours alone.
        let Shadow { next, key, .. } = unsafe { self.0.as_ref() };
        let chain = chain_of(key.obj);
        next.set(chain.0.load(Ordering::Relaxed));
        chain.set(self.0.as_ptr());
        core::mem::forget(self);
        data
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: it was not published.
        unsafe { ffi::klp_shim_shadow_discard(self.0.as_ptr()) };
    }
}

/// Why there is no new variable.
enum Refusal {
    Exists(*mut c_void),
    NotConstructed(c_int),
    NoMemory,
}

fn alloc(
    key: Key,
    size: usize,
    gfp: u32,
    construct: impl Fn(*mut c_void) -> c_int,
) -> Result<*mut c_void, Refusal> {
    if let Some(found) = find(&Reading::begin(), key) {
        return Err(Refusal::Exists(found.data()));
    }
    // Before the lock, so that it may sleep; then somebody else may have been faster. Dropped after the lock.
    let fresh = Fresh::new(key, size, gfp).ok_or(Refusal::NoMemory)?;
    let locked = Locked::lock();
    if let Some(found) = find(&locked, key) {
        return Err(Refusal::Exists(found.data()));
    }
    match construct(fresh.data()) {
        0 => Ok(fresh.publish(&locked)),
        err => Err(Refusal::NotConstructed(err)),
    }
}

/// `klp_shadow_get()`
#[unsafe(no_mangle)]
extern "C" fn klp_rs_shadow_get(obj: *mut c_void, id: c_ulong) -> *mut c_void {
    find(&Reading::begin(), Key { obj, id }).map_or(ptr::null_mut(), Found::data)
}

/// `klp_shadow_alloc()`, and with `or_get` `klp_shadow_get_or_alloc()`
#[unsafe(no_mangle)]
extern "C" fn klp_rs_shadow_alloc(
    obj: *mut c_void,
    id: c_ulong,
    size: usize,
    gfp: u32,
    construct: Option<Construct>,
    construct_data: *mut c_void,
    or_get: bool,
) -> *mut c_void {
    let construct = |data| match construct {
        // SAFETY: the caller gave it for this object, with this data.
        Some(construct) => unsafe { construct(obj, data, construct_data) },
        None => 0,
    };
    // The messages after the lock was given up.
    match alloc(Key { obj, id }, size, gfp, construct) {
        Ok(data) => return data,
        Err(Refusal::Exists(data)) if or_get => return data,
        // SAFETY: any context.
        Err(Refusal::Exists(_)) => unsafe { ffi::klp_shim_shadow_exists(obj, id) },
        // SAFETY: any context.
        Err(Refusal::NotConstructed(err)) => unsafe { ffi::klp_shim_shadow_not_constructed(obj, id, err) },
        Err(Refusal::NoMemory) => {}
    }
    ptr::null_mut()
}

/// `klp_shadow_free()`
#[unsafe(no_mangle)]
extern "C" fn klp_rs_shadow_free(obj: *mut c_void, id: c_ulong, destroy: Option<Destroy>) {
    let key = Key { obj, id };
    free_matching(&Locked::lock(), chain_of(obj), |other| other == key, destroy);
}

/// `klp_shadow_free_all()`
#[unsafe(no_mangle)]
extern "C" fn klp_rs_shadow_free_all(id: c_ulong, destroy: Option<Destroy>) {
    free_all(id, destroy);
}

fn free_all(id: c_ulong, destroy: Option<Destroy>) -> usize {
    let locked = Locked::lock();
    CHAINS.iter().map(|chain| free_matching(&locked, chain, |key| key.id == id, destroy)).sum()
}

/// klp.ko goes. What the kernel would keep for a later patch goes with it, and is not kept secret: destructors are in patch
/// modules, of which none is left.
pub(crate) fn exit() {
    let left = || {
        let reading = Reading::begin();
        CHAINS.iter().find_map(|chain| chain.get(&reading)).map(|found| found.head().key.id)
    };
    while let Some(id) = left() {
        let count = free_all(id, None);
        // SAFETY: process context.
        unsafe { ffi::klp_shim_shadow_left(id, count) };
    }
}
