// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capability 3: reliable stack walking.
//!
//! Either every function the task may return to is reported, or the walk says "unreliable" with a reason. There is no
//! third answer (`reference/2015-stack-walking-must-be-100-percent.txt`; the kernel's
//! `Documentation/livepatch/reliable-stacktrace.rst`).
//!
//! An architecture states how to step from one frame to its caller. Bounds, progress, text checks and termination are
//! the same everywhere and belong to the walker, not to the architecture.

use crate::Addr;

/// Reads the word at an address, or `None` where the walk may not look: outside the task's stacks.
pub trait Memory {
    /// Reads the aligned 64-bit word at `addr`, in the byte order of the machine that is looked at.
    fn word(&self, addr: Addr) -> Option<u64>;
}

impl<F: Fn(Addr) -> Option<u64>> Memory for F {
    fn word(&self, addr: Addr) -> Option<u64> {
        self(addr)
    }
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
}

/// Why a stack cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreliable {
    /// The word at this address is needed and lies outside the task's stacks.
    CouldNotReadStack(Addr),
    /// A frame is not above the one it called: the chain is broken or circular.
    DidNotAdvance(Addr),
    /// A frame pointer is not aligned as the ABI requires.
    Misaligned(Addr),
    /// A return address is in no known text.
    NotText(Addr),
    /// The instruction before a return address is not a call.
    NotAfterCall(Addr),
    /// An exception interrupted the code that this frame belongs to: what it had set up is unknown.
    Exception(Addr),
    /// This code may not be walked through: entry code, a trampoline, a stub.
    Unwalkable(Addr),
    /// More frames than a stack can hold.
    TooManyFrames,
    /// The task is running.
    Running,
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller's frame.
    Frame(Cursor),
    /// The true bottom of the stack: user mode was entered, or the thread was started, here.
    Bottom,
}

/// How frames are chained.
pub trait Unwind {
    /// Alignment in bytes of frames on the stack.
    const FRAME_ALIGN: u64;

    /// Steps from a frame to its caller's.
    ///
    /// `bottom` is the address just above the highest frame: where the entry code's register block starts.
    /// Reads only through `memory`. Callable with the machine stopped and in NMI; bounded time.
    ///
    /// # Errors
    ///
    /// [`Unreliable`] whenever the caller cannot be known for certain.
    fn step(cursor: &Cursor, bottom: Addr, memory: &impl Memory) -> Result<Step, Unreliable>;
}
