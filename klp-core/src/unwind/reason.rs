// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Why a stack cannot be walked.

use core::ffi::CStr;
use core::fmt;

use super::ReturnTrampoline;
use crate::Addr;

/// Why a stack cannot be walked. The address says where, or what was found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreliable {
    /// The task is running, or was when it was looked at.
    Running,
    /// The task has exited and given its stack back.
    NoStack,
    /// The word at this address is needed and lies outside the task's stacks.
    CouldNotReadStack(Addr),
    /// A frame (its stack pointer) is not above the one it called: the chain is broken or circular.
    DidNotAdvance(Addr),
    /// A frame lies on a stack that the task cannot have come from.
    WrongStack(Addr),
    /// A frame, or a pointer to one, is not aligned as the ABI requires.
    Misaligned(Addr),
    /// A return address is in no known text.
    NotText(Addr),
    /// The instruction before a return address is not a call.
    NotAfterCall(Addr),
    /// An exception interrupted the code at this address: what it had set up is unknown.
    Exception(Addr),
    /// An exception interrupted a function at this address where its return address is in a register only.
    CallerInRegister(Addr),
    /// The code at this address may not be walked through: entry code, a trampoline, a stub, generated code.
    Unwalkable(Addr),
    /// No unwind table describes the code at this address, or its entry says that it cannot be unwound.
    NoUnwindInfo(Addr),
    /// The chain ends at this stack pointer, which is not the bottom of the stack.
    NotTheBottom(Addr),
    /// A function returns to this trampoline, whose keeper has no return address for it.
    ReturnLost(ReturnTrampoline),
    /// The bottom was reached, and this keeper has return addresses that no frame returned to.
    ReturnLeft(ReturnTrampoline),
    /// More than [`MAX_FRAMES`](super::MAX_FRAMES) frames; the next would have had this stack pointer.
    TooManyFrames(Addr),
}

impl Unreliable {
    /// The reason in one word, as tools and reports show it.
    pub const fn name(&self) -> &'static str {
        match self.c_name().to_str() {
            Ok(name) => name,
            Err(_) => unreachable!(),
        }
    }

    /// The reason in one word, as [`name`](Self::name), for C.
    pub const fn c_name(&self) -> &'static CStr {
        match self {
            Self::Running => c"running",
            Self::NoStack => c"no-stack",
            Self::CouldNotReadStack(_) => c"could-not-read-stack",
            Self::DidNotAdvance(_) => c"did-not-advance",
            Self::WrongStack(_) => c"wrong-stack",
            Self::Misaligned(_) => c"misaligned",
            Self::NotText(_) => c"not-text",
            Self::NotAfterCall(_) => c"not-after-call",
            Self::Exception(_) => c"exception",
            Self::CallerInRegister(_) => c"caller-in-register",
            Self::Unwalkable(_) => c"unwalkable",
            Self::NoUnwindInfo(_) => c"no-unwind-info",
            Self::NotTheBottom(_) => c"not-the-bottom",
            Self::ReturnLost(_) => c"return-lost",
            Self::ReturnLeft(_) => c"return-left",
            Self::TooManyFrames(_) => c"too-many-frames",
        }
    }

    /// The address that goes with the reason.
    pub const fn addr(&self) -> Option<Addr> {
        match *self {
            Self::CouldNotReadStack(addr)
            | Self::DidNotAdvance(addr)
            | Self::WrongStack(addr)
            | Self::Misaligned(addr)
            | Self::NotText(addr)
            | Self::NotAfterCall(addr)
            | Self::Exception(addr)
            | Self::CallerInRegister(addr)
            | Self::Unwalkable(addr)
            | Self::NoUnwindInfo(addr)
            | Self::NotTheBottom(addr)
            | Self::TooManyFrames(addr) => Some(addr),
            Self::Running | Self::NoStack | Self::ReturnLost(_) | Self::ReturnLeft(_) => None,
        }
    }

    /// A number below 32 that stands for the reason, for sets of reasons.
    pub const fn number(&self) -> u32 {
        match self {
            Self::Running => 0,
            Self::NoStack => 1,
            Self::CouldNotReadStack(_) => 2,
            Self::DidNotAdvance(_) => 3,
            Self::WrongStack(_) => 4,
            Self::Misaligned(_) => 5,
            Self::NotText(_) => 6,
            Self::NotAfterCall(_) => 7,
            Self::Exception(_) => 8,
            Self::CallerInRegister(_) => 9,
            Self::Unwalkable(_) => 10,
            Self::NoUnwindInfo(_) => 11,
            Self::NotTheBottom(_) => 12,
            Self::ReturnLost(_) => 13,
            Self::ReturnLeft(_) => 14,
            Self::TooManyFrames(_) => 15,
        }
    }

    /// Whether a task that is neither running nor exiting should never give this reason: something is wrong with its
    /// stack or with what we know of this kernel, and the kernel log should say so.
    pub const fn is_unexpected(&self) -> bool {
        !matches!(
            self,
            Self::Running
                | Self::NoStack
                | Self::Exception(_)
                | Self::CallerInRegister(_)
                | Self::Unwalkable(_)
                | Self::NoUnwindInfo(_)
        )
    }
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("the task is running"),
            Self::NoStack => f.write_str("the task has exited"),
            Self::CouldNotReadStack(addr) => write!(f, "{addr:#x} is outside its stacks"),
            Self::DidNotAdvance(addr) => write!(f, "the frame at {addr:#x} is not above the one it called"),
            Self::WrongStack(addr) => {
                write!(f, "the frame at {addr:#x} is on a stack it cannot have come from")
            }
            Self::Misaligned(addr) => write!(f, "the frame at {addr:#x} is misaligned"),
            Self::NotText(addr) => write!(f, "it would return to {addr:#x}, which is not text"),
            Self::NotAfterCall(addr) => write!(f, "it would return to {addr:#x}, which no call precedes"),
            Self::Exception(addr) => {
                write!(f, "an exception interrupted {addr:#x}, where the caller cannot be known")
            }
            Self::CallerInRegister(addr) => {
                write!(f, "an exception interrupted {addr:#x}, where the caller is in a register only")
            }
            Self::Unwalkable(addr) => write!(f, "{addr:#x} is code that cannot be walked through"),
            Self::NoUnwindInfo(addr) => write!(f, "nothing describes the frame of {addr:#x}"),
            Self::NotTheBottom(addr) => {
                write!(f, "the frames end at {addr:#x}, which is not the stack's bottom")
            }
            Self::ReturnLost(keeper) => write!(f, "a return address is missing in {}", keeper.keeps()),
            Self::ReturnLeft(keeper) => write!(f, "a return address is left over in {}", keeper.keeps()),
            Self::TooManyFrames(_) => write!(f, "more than {} frames", super::MAX_FRAMES),
        }
    }
}

impl ReturnTrampoline {
    /// Where its return addresses are kept, in words.
    const fn keeps(self) -> &'static str {
        match self {
            Self::Graph => "the function-graph tracer's return stack",
            Self::Probe => "the list of return probes",
            Self::Patch => "the return stack of patched calls",
        }
    }
}
