// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capability 1: rewriting the return address in the ftrace trampoline.
//!
//! ftrace turns a hook at a function's start, its *patch site*, into a call of a trampoline. The trampoline saves
//! registers in a block on the stack, calls every callback registered for that site, restores the registers from the
//! block and resumes where the block says. A callback that writes another *resume address* into the block therefore
//! decides which function runs, with the original arguments, as if the caller had called it
//! (`Documentation/livepatch/livepatch.rst`, "Livepatch function redirection").
//!
//! The block is `struct pt_regs` or the smaller `struct ftrace_regs`, and differs between kernels of one architecture.
//! Its layout is data, read from the target kernel's headers when the module is built: [`RegsLayout`].

use crate::Addr;

/// Where in a register block each register lies, in bytes from the block's start.
///
/// The kernel module fills it in with `offsetof` from the headers it is built against, so the numbers are those of the
/// kernel it is loaded into. [`RegsLayout::ABSENT`] marks a register that the block does not hold.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegsLayout {
    /// Size of the block in bytes.
    pub size: u16,
    /// The resume address: where the trampoline continues.
    pub pc: u16,
    /// The stack pointer as the caller of the patched function left it.
    pub sp: u16,
    /// The return-address (link) register; absent where a call pushes the return address on the stack.
    pub ra: u16,
    /// General-purpose register 0 of a full register file; register N follows at N words.
    pub gprs: u16,
}

impl RegsLayout {
    /// The offset of a register that the block does not hold.
    pub const ABSENT: u16 = u16::MAX;
}

/// One register block, as the trampoline handed it to the callback.
///
/// Offsets come from a [`RegsLayout`]. Values are in the byte order of the running machine. An implementation may
/// assume that offsets are inside the block and aligned to a word.
pub trait Registers {
    /// Reads the word at `offset` bytes.
    fn read(&self, offset: u16) -> u64;
    /// Writes the word at `offset` bytes; the trampoline restores the register from it.
    fn write(&mut self, offset: u16, value: u64);
}

/// How much of the register file the callback must be handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegsNeeded {
    /// Arguments, stack pointer and resume address are enough (`DYNAMIC_FTRACE_WITH_ARGS`), where the kernel has that
    /// cheaper block.
    Arguments,
    /// All general-purpose registers (`FTRACE_OPS_FL_SAVE_REGS`).
    Full,
}

/// A function's patch site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchSite {
    /// The address a C function pointer to the function holds.
    pub function: Addr,
    /// The instruction that ftrace rewrites.
    pub site: Addr,
    /// Where execution resumes when nothing is redirected: the first instruction behind the patched ones.
    pub resume: Addr,
}

/// Why a function has no patch site that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteError {
    /// ftrace's site lies further from the function's start than this architecture's compilers put it: it probably
    /// belongs to another function.
    TooFar {
        /// Bytes from the function's start to the site.
        offset: i64,
        /// The largest distance that is plausible.
        limit: u64,
    },
    /// The bytes at the site are neither the compiler's nor any form ftrace gives them.
    UnknownCode {
        /// Address of the first byte that was not understood.
        at: Addr,
        /// The four bytes there, as they lie in memory.
        found: [u8; 4],
    },
    /// Fewer bytes than [`FtraceRedirect::ENTRY_LEN`] could be read.
    ShortCode,
}

/// What has to be put back when a redirected call returns, on architectures where a caller relies on more than the
/// callee-saved registers (the TOC pointer of the Power ELFv2 ABI, §2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnFrame {
    /// Where the caller of the patched function continues.
    pub ra: Addr,
    /// The stack pointer at the call; it identifies the frame, and is the same again when the call returns.
    pub sp: u64,
    /// The register value to put back for the caller. Until the stub is entered, whatever the stub needs to know.
    pub context: u64,
}

/// A redirect, decided but not yet carried out: see [`FtraceRedirect::redirect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirected {
    /// Nothing else to do: the replacement returns straight to the caller.
    Direct,
    /// The replacement returns to the return stub, which needs this frame to get back to the caller.
    ThroughStub(ReturnFrame),
}

/// From a symbol to its patch site, and from the trampoline's register block to a redirected call.
///
/// The methods on the call path ([`call_site`](Self::call_site), [`return_frame`](Self::return_frame),
/// [`redirect`](Self::redirect)) run in ftrace callbacks: any context, NMI and idle included, preemption disabled. They
/// must not sleep, allocate, panic or take a lock; being pure functions, they need not try.
pub trait FtraceRedirect {
    /// Largest distance in bytes from a function's address to its patch site: a landing pad, a global entry sequence.
    const MAX_SITE_OFFSET: u64;

    /// How many bytes of code from the function's address [`patch_site`](Self::patch_site) looks at.
    const ENTRY_LEN: usize;

    /// The registers a callback must be handed.
    const REGS: RegsNeeded;

    /// Whether redirected calls return through the module's return stub ([`Redirected::ThroughStub`]).
    const RETURN_STUB: bool;

    /// Whether the kernel's kprobe callback, where it runs after ours, sets the resume address to the original function
    /// again. ftrace calls the newest callback first, so that concerns a probe that was there before the hook.
    const PROBE_UNDOES_REDIRECT: bool = false;

    /// Checks that `location`, which ftrace names as the site of the function at `function`, is its patch site.
    ///
    /// `code` holds the first [`ENTRY_LEN`](Self::ENTRY_LEN) bytes of the function as they are in memory now: sites
    /// may be disabled (NOPs) or enabled (a call of some trampoline). Called with interrupts on; may not assume that
    /// the site stays as it is.
    ///
    /// # Errors
    ///
    /// [`SiteError`] if site and code do not fit together. "In doubt" is an error, never a guess.
    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError>;

    /// The address a C function pointer must hold to call the function whose *symbol lookup* gave `found`.
    ///
    /// A kprobe placed by name reports the address it was put at, which is behind the global entry point where an ABI
    /// has one. `code_before` holds up to [`MAX_SITE_OFFSET`](Self::MAX_SITE_OFFSET) bytes that end at `found`.
    fn function_of_probe(found: Addr, code_before: &[u8]) -> Addr {
        let _ = code_before;
        found
    }

    /// The patch site this block was made at, given the `ip` argument that ftrace passes to callbacks.
    fn call_site(ip: Addr) -> Addr {
        ip
    }

    /// The resume address now in the block: behind the patch site unless another callback has rewritten it.
    fn resume_address(regs: &impl Registers, layout: &RegsLayout) -> Addr {
        regs.read(layout.pc)
    }

    /// Rewrites the block so that the trampoline enters `target` in place of the rest of the patched function.
    ///
    /// `target` is what a C function pointer to the replacement holds. `return_stub` is the address of the module's
    /// return stub, zero where [`RETURN_STUB`](Self::RETURN_STUB) is false and on kernels that need none.
    ///
    /// The block is complete when this returns. If [`return_frame`](Self::return_frame), asked with the same
    /// arguments, answers [`Redirected::ThroughStub`], the caller must have put that frame on the task's return stack
    /// before the trampoline resumes; asked first, so that a full stack can be a refusal.
    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, return_stub: Addr);

    /// The frame that this redirect needs on the task's return stack, or [`Redirected::Direct`].
    ///
    /// To be asked before [`redirect`](Self::redirect), which may overwrite what it reads.
    fn return_frame(
        regs: &impl Registers,
        layout: &RegsLayout,
        target: Addr,
        return_stub: Addr,
    ) -> Redirected {
        let _ = (regs, layout, target, return_stub);
        Redirected::Direct
    }
}
