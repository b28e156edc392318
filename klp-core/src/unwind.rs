// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capability 3: reliable stack walking.
//!
//! Either every function the task may return to is reported, or the walk says "unreliable" with a reason. There is no
//! third answer (`reference/2015-stack-walking-must-be-100-percent.txt`; the kernel's
//! `Documentation/livepatch/reliable-stacktrace.rst`).
//!
//! | who | owns |
//! |---|---|
//! | [`walk`] | bounds, progress, text and call-site checks, return trampolines, the end: the same everywhere |
//! | [`Unwind`] (an architecture) | where a switched-out task's frame is, how to step, what an exception leaves behind |
//! | [`Machine`] | what is looked at: the running kernel, a memory image of one, an array in a test |
//!
//! A walk allocates nothing, takes no lock and ends after at most [`MAX_FRAMES`] frames: it may be done with the machine
//! stopped and in NMI. The caller keeps the task from running meanwhile.

mod reason;
mod seen;
mod table;
mod walker;

use core::ffi::CStr;

use crate::Addr;

pub use reason::Unreliable;
pub use seen::{Remembered, Seen};
pub use table::{BlockIndex, TableFormat, UnwindTable};
pub use walker::{Next, Start, Task, Verdict, walk};

/// Most frames of a walk: those of the smallest kernel stack (16 KiB) if each had 16 bytes, the least that any
/// architecture's frame has.
pub const MAX_FRAMES: usize = 1024;

/// Reads the word at an address, or `None` where the walk may not look.
pub trait Memory {
    /// Reads the aligned 64-bit word at `addr`, in the byte order of the machine that is looked at.
    fn word(&self, addr: Addr) -> Option<u64>;
}

impl<F: Fn(Addr) -> Option<u64>> Memory for F {
    fn word(&self, addr: Addr) -> Option<u64> {
        self(addr)
    }
}

/// What a code address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No text at all.
    NotText,
    /// A function of the kernel or of a module.
    Function,
    /// Text that was discarded after boot, on the stack of the task that booted the kernel: what it called from there never
    /// returns (`start_kernel`), and the bytes are gone. On any other stack such an address is [`NotText`](Self::NotText):
    /// the memory is somebody's data now, and pointers to it are everywhere.
    Discarded,
    /// Entry code: it has no frames that a walk could step over, only register blocks, and the bottom.
    Entry,
    /// Code made at run time, whose frames nobody describes: BPF programs, ftrace's trampolines, probes' slots.
    Generated,
    /// Where a function returns to whose return address somebody else keeps.
    ReturnTrampoline(ReturnTrampoline),
}

/// Who keeps return addresses that were on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnTrampoline {
    /// The function-graph tracer (`return_to_handler`).
    Graph,
    /// Return probes: kretprobes and rethooks (`__kretprobe_trampoline`, `arch_rethook_trampoline`).
    Probe,
    /// This SDK's return stub ([`return_stack`](crate::return_stack)).
    Patch,
}

impl ReturnTrampoline {
    /// All of them.
    pub const ALL: [ReturnTrampoline; 3] = [Self::Graph, Self::Probe, Self::Patch];
}

/// The machine a walk looks at.
///
/// All methods may be called with the machine stopped and in NMI: they neither sleep nor take a lock.
pub trait Machine: Memory {
    /// Whether later walks know what earlier ones found ([`Remembered`]).
    const REMEMBERS: bool = false;

    /// What the code at `pc` is. `pc` may be any number.
    fn code(&self, pc: Addr) -> Code;

    /// Whether functions return to `pc` whose return address somebody keeps: [`code`](Self::code) says so too, but every
    /// return address is asked about.
    fn return_trampoline(&self, pc: Addr) -> Option<ReturnTrampoline> {
        match self.code(pc) {
            Code::ReturnTrampoline(keeper) => Some(keeper),
            _ => None,
        }
    }

    /// Copies the `bytes.len()` bytes of text at `addr`, as they lie in memory. `false` if they cannot be read.
    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool;

    /// The return address that `keeper` holds for the task, the newest being `nth` 0; `None` behind the oldest.
    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr>;

    /// How the kernel that is looked at can be unwound.
    fn unwind_info(&self) -> UnwindInfo;

    /// The table that describes the code at `pc`, where [`unwind_info`](Self::unwind_info) says that there are tables.
    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>>;

    /// Whether there is text at `pc` which, with its unwind table, neither comes nor goes, and is the same for every task. Its
    /// instructions may be patched.
    fn is_permanent(&self, pc: Addr) -> bool {
        let _ = pc;
        false
    }

    /// The entry for the code at `pc` in that table.
    #[inline]
    fn unwind_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        self.unwind_table(pc)?.find(pc).copied()
    }

    /// What an earlier walk found there, if it is remembered.
    #[inline]
    fn known_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        let _ = pc;
        None
    }

    /// What an earlier walk found, if it is remembered: `pc` is a return address, behind a call in this code.
    #[inline]
    fn call_site(&self, pc: Addr) -> Option<Code> {
        let _ = pc;
        None
    }

    /// Lets later walks know.
    #[inline]
    fn set_call_site(&self, pc: Addr, code: Code) {
        let _ = (pc, code);
    }
}

/// How a kernel's frames are described, which is a choice of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnwindInfo {
    /// By themselves: every function keeps a frame pointer, frame record or back chain.
    Frames,
    /// By objtool's tables (CONFIG_UNWINDER_ORC), whose entries have this format.
    Tables(TableFormat),
}

/// The registers that a walk carries from frame to frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The address execution continues at in this frame.
    pub pc: Addr,
    /// The stack pointer in this frame.
    pub sp: Addr,
    /// The frame pointer, where the architecture's frames are chained through one; else zero.
    pub fp: Addr,
    /// `pc` is the instruction that is executed next, where the code was interrupted or the task was created, and no
    /// return address: the instruction before it need not be a call.
    pub exact: bool,
}

impl Cursor {
    /// An address in the function that this frame belongs to. A return address may lie behind its last byte, when the
    /// call was the last instruction (of a function that does not return).
    pub const fn in_function(&self) -> Addr {
        if self.exact { self.pc } else { self.pc.wrapping_sub(1) }
    }
}

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The task was switched out, or the walk was started, here.
    Start,
    /// By the callee's frame: a frame record, frame pointer or back chain.
    Chain,
    /// By the table's entry for the callee.
    Table,
    /// In the register block that an exception left.
    Registers,
    /// The callee's return address was with this keeper.
    Kept(ReturnTrampoline),
}

/// One function that the task may return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its registers.
    pub cursor: Cursor,
    /// How it was found.
    pub found: Found,
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller's frame; its `pc` was read as a return address and may still be a trampoline's, or signed.
    Caller(Cursor),
    /// An exception interrupted the code of this frame, all of whose registers are known.
    Interrupted(Cursor),
    /// The true bottom of the stack: user mode was entered, or the thread was started, here.
    Bottom,
}

/// What a context switch saved of a task: words of its `struct thread_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The stack pointer.
    pub sp: u64,
    /// The program counter, where it is saved there and not on the stack; else zero.
    pub pc: u64,
    /// The frame pointer, likewise.
    pub fp: u64,
}

/// A piece of the kernel's text, by its symbol table: the symbol that it begins with, and the one behind it.
pub type Bounds = [&'static CStr; 2];

/// How an architecture's stacks are walked.
///
/// Pure: each method reads only through the [`Machine`], takes bounded time, and may be called with the machine stopped
/// and in NMI. The [`Machine`] that [`walk`] hands on reads nothing outside the task's stacks.
pub trait Unwind {
    /// Alignment in bytes of frames on the stack.
    const FRAME_ALIGN: u64;

    /// Functions between a system call, interrupt or exception and user mode, beside those that `klp.ko` knows on all (`COMMON` in
    /// `kmod/src/universe.rs`). A name that is missing makes a task that waits to leave the kernel be asked again, for ever.
    const WAY_OUT: &'static [&'static str] = &[];

    /// Where entry code is, if not between `__entry_text_start` and `__entry_text_end`: the first of these that the kernel has. Without
    /// it, code that makes no frame would pass for a function.
    const ENTRY_TEXT: &'static [Bounds] = &[];

    /// Where ftrace's trampolines are, if not between `ftrace_caller` and `ftrace_regs_caller_end`: the first of these that the kernel
    /// has, and what kallsyms takes for the function that begins at the second symbol. Without, what kallsyms takes for `ftrace_caller`.
    const FTRACE_TEXT: &'static [Bounds] = &[];

    /// The frame of a task that is switched out, from what the context switch saved.
    ///
    /// # Errors
    ///
    /// [`Unreliable`] if that frame is not where it should be.
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable>;

    /// Whether the stack starts in this frame, by what is known of the code at its `pc` and not by the frame's place alone.
    /// Nothing returns there, so no call need have led on from it: some boot code makes up the return address of the first
    /// function (`secondary_startup_64` on x86). Nowhere, if not stated.
    fn starts_stack(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> bool {
        let _ = (cursor, bottom, machine);
        false
    }

    /// The short way: what [`step`](Self::step) answers with [`Step::Caller`] for the frames that nearly all are. `None` for all
    /// others, and wherever anything is wrong or not [known](Machine::known_entry) yet. For no frame, if not stated.
    #[inline]
    fn caller(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Option<Cursor> {
        let _ = (cursor, bottom, machine);
        None
    }

    /// Steps from a frame to its caller's.
    ///
    /// `bottom` is the address just above the highest frame: where the entry code's register block starts, or what the
    /// architecture has there for a kernel thread.
    ///
    /// # Errors
    ///
    /// [`Unreliable`] whenever the caller cannot be known for certain.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable>;
}
