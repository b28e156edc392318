// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the engine asks of the running kernel.

use core::ops::{Deref, DerefMut};

use crate::branch;
use crate::engine::code::Code;
use crate::ftrace::PatchSite;
use crate::patch::{Leave, Object};
use crate::patchable::{Declared, Room};
use crate::redirect::FuncRedirect;
use crate::universe::Slot;
use crate::unwind::Unreliable;
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

/// How a call of a patched function reaches its replacement, the cheapest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// ftrace calls the redirect callback: the only one that decides for each call.
    Callback,
    /// ftrace has the patch site call a stub that goes on in the replacement, or the replacement itself.
    Direct,
    /// The function branches to a slot of its own, which goes on in the replacement.
    Slot,
}

impl Entry {
    /// Its name in sysfs.
    pub const fn name(self) -> &'static str {
        match self {
            Entry::Callback => "callback",
            Entry::Direct => "direct",
            Entry::Slot => "slot",
        }
    }
}

/// A hook at one patch site.
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

    /// How calls reach the target now.
    fn entry(&self) -> Entry {
        Entry::Callback
    }

    /// Has calls reach `target` by the cheapest entry there is; if that cannot be had, they stay with the one they have. The
    /// hook is armed, and `target` is where the callback sends all calls. May sleep.
    fn enter_cheaply(&mut self, target: Addr) {
        let _ = target;
    }

    /// Has the callback decide again. On return it decides each call that arrives, and no task is on its way through
    /// another entry. May sleep.
    ///
    /// # Errors
    ///
    /// The kernel's; calls go where they went.
    fn enter_by_callback(&mut self) -> Result<(), Errno> {
        Ok(())
    }
}

/// Names a task: the address of its `struct task_struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId(pub Addr);

/// Why a task cannot be switched now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It runs, so its stack changes; or it cannot be held still without stopping the machine.
    Running,
    /// It may return to this address, in code that changes.
    Code(Addr),
    /// Its stack cannot be walked reliably.
    Unreliable(Unreliable),
    /// It must leave the kernel, and has not yet.
    InKernel,
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

/// Bytes to be written to a patch module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub at: Addr,
    /// The bytes.
    pub code: branch::Code,
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
    /// The memory of a table of universes.
    type Slots: Deref<Target = [Slot]>;

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

    /// As [`for_each_symbol`](Self::for_each_symbol), for data too as far as the symbol table lists any.
    fn for_each_symbol_of_any_kind(
        &self,
        object: Option<Self::Name>,
        name: Self::Name,
        found: &mut dyn FnMut(Addr) -> bool,
    ) {
        self.for_each_symbol(object, name, found);
    }

    /// Whether the kernel's symbol table lists data.
    fn lists_data(&self) -> bool {
        true
    }

    /// Writes to the text and data of a patch module, where no CPU executes or reads, all of it or, without memory,
    /// nothing. What CPUs execute there later is what was written.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]; also where patches have no relocations of their own.
    fn write_patch(&self, writes: &[Write]) -> Result<(), NoMemory> {
        let _ = writes;
        Err(NoMemory)
    }

    /// Whether every branch of a patch to another object is to count as out of reach, for tests.
    fn out_of_reach(&self) -> bool {
        false
    }

    /// ftrace's patch site for the function at `function`, if it has one.
    fn ftrace_location(&self, function: Addr) -> Option<Addr>;

    /// How much room there is at the functions of a loaded object, if its module says so; those that its compiler gave
    /// none may have none.
    fn declared_room(&self, object: Option<Self::Name>) -> Option<Declared> {
        let _ = object;
        None
    }

    /// Whether there is a kprobe at the patch site `site`. Asked only where [`PROBE_UNDOES_REDIRECT`] is set, and of functions that
    /// ftrace does not know.
    ///
    /// [`PROBE_UNDOES_REDIRECT`]: crate::FtraceRedirect::PROBE_UNDOES_REDIRECT
    fn has_probe(&self, site: Addr) -> bool;

    /// Copies kernel text at `addr` to `code`. `false` if it cannot be read.
    fn read_text(&self, addr: Addr, code: &mut [u8]) -> bool;

    /// Allocates a hook for a patch site, not armed: one of ftrace's, or with `room` one of a function that ftrace does not
    /// know.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    fn new_hook(&self, site: PatchSite, room: Option<Room>) -> Result<Self::Hook, NoMemory>;

    /// Runs one of an object's callbacks; `Ok` if it has none.
    ///
    /// # Errors
    ///
    /// What [`Callback::PrePatch`] returned; the others cannot fail.
    fn callback(&self, callbacks: Self::Callbacks, which: Callback) -> Result<(), Errno>;

    /// Lets the patch module see what became of one of its objects: whether it is patched, and where its functions are. Called
    /// before calls can reach the replacements.
    fn show_object(&self, callbacks: Self::Callbacks, object: &Object<Self>) {
        let _ = (callbacks, object);
    }

    /// Calls `found` with every part of the function `name` of `object` at `function`: its body, and what the compiler put
    /// elsewhere and jumps to (`NAME.cold`). Where several functions of the object have the name, the parts of all of them
    /// that cannot be told apart.
    fn each_part(
        &self,
        object: Option<Self::Name>,
        name: Self::Name,
        function: Addr,
        found: &mut dyn FnMut(Range),
    );

    /// Whether `object` is part of the engine, which cannot replace its own functions.
    fn is_own(&self, object: Self::Name) -> bool;

    /// Milliseconds since some time in the past.
    fn now_ms(&self) -> u64;

    /// After how many milliseconds the tasks that hold a transition up are woken.
    fn signal_after_ms(&self) -> u64;

    /// Runs `work` with the machine stopped: no other CPU executes anything, no callback is under way, on any CPU.
    fn stop_machine(&self, work: &mut dyn FnMut());

    /// Returns when every callback that was under way is over, on all CPUs, idle ones included
    /// (`reference/2017-rcu-in-the-ftrace-handler.txt`: RCU does not watch them all).
    fn synchronise(&self) {
        self.stop_machine(&mut || {});
    }

    /// About how many tasks there are.
    fn task_count(&self) -> usize;

    /// Calls `each` with every task, idle ones and those of offline CPUs included, until it answers `false`. Tasks that
    /// have exited may be left out. With the machine stopped.
    fn each_task(&self, each: &mut dyn FnMut(TaskId) -> bool);

    /// Keeps a task's structure from being freed until [`unpin`](Self::unpin). With the machine stopped.
    fn pin(&self, task: TaskId);

    /// Takes [`pin`](Self::pin) back.
    fn unpin(&self, task: TaskId);

    /// Checks whether a task, which is pinned, may be switched, and if so calls `switch` while it is still held.
    ///
    /// It may if it has exited, or if its stack can be walked reliably and holds none of `code`. With [`Leave::Kernel`] a
    /// task that returns to user mode at times may not, unless it has exited.
    ///
    /// # Errors
    ///
    /// Why it may not.
    fn check(&self, task: TaskId, code: Code<'_>, leave: Leave, switch: &mut dyn FnMut())
    -> Result<(), Hold>;

    /// As [`check`](Self::check), with the machine stopped: no task is running. The idle task of a CPU that is offline may
    /// be switched: it starts anew when the CPU comes back.
    ///
    /// # Errors
    ///
    /// As there; never [`Hold::Running`].
    fn check_stopped(&self, task: TaskId, code: Code<'_>, leave: Leave) -> Result<(), Hold>;

    /// Lets a task that sleeps interruptibly notice that something is to be done, as a signal that is none would. A
    /// system call it sleeps in is restarted or returns `EINTR`. It is pinned.
    fn wake(&self, task: TaskId);

    /// Asks a task, which is pinned and listed, to do one of two things when it is about to return to user mode:
    /// while tasks are [`gather`](Self::gather)ed, to note that it waits, and to wait there; else to switch itself to the
    /// universe of those that are not listed. In both cases it notes first that it has left.
    ///
    /// # Errors
    ///
    /// It cannot be asked: it never returns to user mode, or is exiting, or there is no memory.
    fn ask_to_leave(&self, task: TaskId) -> Result<(), NoMemory>;

    /// Whether a function of this name lies between a system call and user mode, so that a task that leaves the kernel is in
    /// it.
    fn is_way_out(&self, name: Self::Name) -> bool {
        let _ = name;
        false
    }

    /// Takes [`ask_to_leave`](Self::ask_to_leave) back, if the task has not left yet.
    fn ask_no_more(&self, task: TaskId);

    /// Whether tasks that leave the kernel wait at the border to user mode. When they need not any more, those that wait go
    /// on.
    fn gather(&self, wait: bool);

    /// Allocates so many slots, all of them default.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    fn new_slots(&self, count: usize) -> Result<Self::Slots, NoMemory>;

    /// Makes the callbacks of functions in transition, and tasks that leave the kernel, look at this table, or at none.
    /// Called while no function is in transition, or with the machine stopped. The slots stay where they are until another
    /// table was shown and [`synchronise`](Self::synchronise) returned.
    fn show_universes(&self, slots: Option<&Self::Slots>);

    /// Looks for a task that may return into one of `text`, running or not. Stops the machine.
    ///
    /// Conservative: any word on a task's stack that could be a return address into `text` counts. `None` therefore
    /// means that no task will execute there again unless it is called anew.
    fn find_holder(&self, text: &[Range]) -> Option<Holder>;

    /// Writes to the kernel log. The first line is one of the kernel's own livepatch, after its prefix, unless the level is
    /// [`Level::Hint`]; all others are hints.
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
    /// `pr_debug`; logged always.
    Debug,
    /// What the kernel's livepatch does not say. It has another prefix, so that whoever looks for the kernel's lines finds
    /// those.
    Hint,
}
