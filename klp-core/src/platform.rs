// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the engine asks of the running kernel.

use core::ops::DerefMut;

use crate::redirect::FuncRedirect;
use crate::{Addr, Architecture};

/// An allocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// A kernel error number, positive (`ENOENT` is 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No such file or directory.
    pub const ENOENT: Errno = Errno(2);
    /// Out of memory.
    pub const ENOMEM: Errno = Errno(12);
    /// Device or resource busy.
    pub const EBUSY: Errno = Errno(16);
    /// File exists.
    pub const EEXIST: Errno = Errno(17);
    /// Invalid argument.
    pub const EINVAL: Errno = Errno(22);
}

/// A growable array whose growth can fail.
///
/// The engine has no allocator of its own. Every method but [`try_reserve`](Self::try_reserve) and
/// [`try_push`](Self::try_push) must not fail, so that undoing something never does.
pub trait List<T>: Default + DerefMut<Target = [T]> {
    /// Makes room for `additional` more elements; may sleep.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]; the list is as it was.
    fn try_reserve(&mut self, additional: usize) -> Result<(), NoMemory>;

    /// Appends an element; may sleep unless room was reserved.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]; the list is as it was and the element is dropped.
    fn try_push(&mut self, value: T) -> Result<(), NoMemory>;

    /// Removes and returns the element at `index`, moving the later ones down. Panics like indexing.
    fn remove(&mut self, index: usize) -> T;
}

/// A range of text.
///
/// A start and a size rather than an end, so that whoever searches stacks for addresses in a range has none of them on
/// its own stack. `repr(C)`: the kernel module's C half fills some in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub start: Addr,
    /// Size in bytes.
    pub size: u64,
}

impl Range {
    /// Whether `addr` is one of its addresses.
    #[inline]
    pub const fn contains(&self, addr: Addr) -> bool {
        addr.wrapping_sub(self.start) < self.size
    }

    /// Whether `word` is a return address that a call in this range left: behind its first byte, at most the byte
    /// behind its last, if the call is the last instruction.
    pub const fn holds_return_address(&self, word: Addr) -> bool {
        word.wrapping_sub(self.start).wrapping_sub(1) < self.size
    }

    /// Whether code of this range may be executed if a task continues at `word`: as a return address, or where an
    /// exception interrupted it, which may be the first instruction.
    pub const fn holds_pc(&self, word: Addr) -> bool {
        word.wrapping_sub(self.start) <= self.size
    }
}

/// An ftrace hook at one patch site.
///
/// Owned by the engine; dropping it frees it, which is only done when it is not armed.
pub trait Hook {
    /// The part that the ftrace callback reads. Its address must not change while the hook exists.
    fn redirect(&self) -> &FuncRedirect;

    /// Makes ftrace call the redirect callback at the site; from then on calls may be redirected. May sleep.
    ///
    /// # Errors
    ///
    /// The kernel's: `EBUSY` when another user of the site changes the resume address too (IPMODIFY), `EINVAL` when
    /// the address is no patch site. Nothing is armed then.
    fn arm(&mut self) -> Result<(), Errno>;

    /// The reverse. On return no CPU executes the callback for this hook any more: it waits for every CPU to pass
    /// through the scheduler, since RCU does not watch everywhere the callback runs
    /// (`reference/2017-rcu-in-the-ftrace-handler.txt`). May sleep. Does nothing if the hook is not armed.
    fn disarm(&mut self);
}

/// The task that still uses a range of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id in the initial namespace.
    pub pid: i32,
    /// Its command name, padded with zeros.
    pub comm: [u8; 16],
    /// The address found on its stack.
    pub addr: Addr,
}

/// Which of an object's callbacks (`struct klp_callbacks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callback {
    /// Before the object is patched; may refuse.
    PrePatch,
    /// After it is patched.
    PostPatch,
    /// Before it is unpatched.
    PreUnpatch,
    /// After it is unpatched.
    PostUnpatch,
}

/// The running kernel's services.
///
/// All methods are called in process context with the engine's lock held, and may sleep unless they say otherwise.
pub trait Platform: Sized {
    /// The architecture that runs.
    type Arch: Architecture;
    /// A name that lives as long as the patch that mentions it.
    type Name: Copy + AsRef<str>;
    /// The fallible array.
    type List<T>: List<T>;
    /// The ftrace hook.
    type Hook: Hook;
    /// How callbacks of an object are found again.
    type Callbacks: Copy;

    /// Whether the module `object` is loaded, so that its functions can be patched now.
    fn is_loaded(&self, object: Self::Name) -> bool;

    /// Calls `found` with the address of every function symbol `name` in `object` (`None`: vmlinux), in the order of
    /// the symbol table, until it answers `false`.
    fn for_each_symbol(
        &self,
        object: Option<Self::Name>,
        name: Self::Name,
        found: &mut dyn FnMut(Addr) -> bool,
    );

    /// ftrace's patch site for the function at `function`, if it has one.
    fn ftrace_location(&self, function: Addr) -> Option<Addr>;

    /// Whether there is a kprobe at the patch site `site`. Asked only where [`PROBE_UNDOES_REDIRECT`] is set.
    ///
    /// [`PROBE_UNDOES_REDIRECT`]: crate::FtraceRedirect::PROBE_UNDOES_REDIRECT
    fn has_probe(&self, site: Addr) -> bool;

    /// Copies kernel text at `addr` to `code`. `false` if it cannot be read.
    fn read_text(&self, addr: Addr, code: &mut [u8]) -> bool;

    /// Allocates a hook for the patch site at `site`, not armed.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    fn new_hook(&self, site: Addr) -> Result<Self::Hook, NoMemory>;

    /// Runs one of an object's callbacks; `Ok` if it has none.
    ///
    /// # Errors
    ///
    /// What [`Callback::PrePatch`] returned; the others cannot fail.
    fn callback(&self, callbacks: Self::Callbacks, which: Callback) -> Result<(), Errno>;

    /// Looks for a task that may return into one of `text`, running or not. Stops the machine.
    ///
    /// Conservative: any word on a task's stack that could be a return address into `text` counts. `None` therefore
    /// means that no task will execute there again unless it is called anew.
    fn find_holder(&self, text: &[Range]) -> Option<Holder>;

    /// Writes one line to the kernel log.
    fn log(&self, level: Level, line: core::fmt::Arguments<'_>);
}

/// Severity of a log line, by the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `pr_err`
    Error,
    /// `pr_warn`
    Warning,
    /// `pr_notice`
    Notice,
}
