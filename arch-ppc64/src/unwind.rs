// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack frames of ppc64 (ELFv2, "The Stack Frame").
//!
//! ```text
//! caller.sp = [sp]            back chain word
//! caller.pc = [caller.sp+16]  a function saves its return address in its caller's frame
//! ```
//!
//! Hence the LR save word of the frame a walk starts in is never read: its function need not have called anything. And
//! the chain alone misses a caller where code was interrupted before it made its frame, or behind where it gave it up:
//! then LR is in a register and the frame at the stack pointer is the caller's. So a walk passes no exception.

use klp_core::unwind::{Bounds, Code, Cursor, Machine, Saved, Step, Unreliable, Unwind};
use klp_core::{Addr, FarBranch};

use crate::Ppc64;

/// Size in bytes of the smallest frame: back chain, CR save, LR save, TOC save ("Minimum Stack Frame Elements").
const MIN_FRAME: u64 = 32;

/// Offset of the LR save doubleword from the back chain word (same section).
const LR_SAVE: u64 = 16;

/// What exception entry leaves in its frame: "REGS" as the bytes lie in memory (`STACK_FRAME_REGS_MARKER`,
/// `arch/powerpc/include/asm/ptrace.h`). Exception exit clears it again.
const REGS_MARKER: u64 = 0x5347_4552;

/// Where in an exception frame the marker lies, bytes from its stack pointer: above a minimal frame, or in older kernels
/// above what was a minimal frame in ELFv1 (`STACK_INT_FRAME_MARKER`, `STACK_FRAME_MARKER`, same file). Both are looked
/// at, since a marker in the wrong place can only make a walk fail that would have been good.
const REGS_MARKER_OFFSETS: [u64; 2] = [32, 96];

/// Where `pt_regs` lies, bytes from the marker (same file), and `nip` in it.
const MARKER_TO_REGS: u64 = 16;
const NIP: u64 = 256;

/// Bytes from the marker to the stack pointer of the interrupted code, if it was on the same stack: `pt_regs` follows, and what
/// that code may use below its stack pointer (`KERNEL_REDZONE_SIZE`, same file). Frames that are smaller are no exception's,
/// but above one may lie entry code's frame at the bottom, with a marker of its own.
const MARKER_TO_INTERRUPTED: u64 = MARKER_TO_REGS + 384 + 288;

/// What the frame of entry code at the bottom takes at most: a minimal frame, marker, `pt_regs`. No frame lies there.
const ENTRY_FRAME: u64 = 512;

/// The frame that `_switch` makes for the registers it saves (`STACK_SWITCH_FRAME_SIZE` and `_REGS`, or what stood for them
/// in older kernels: `STACK_FRAME_WITH_PT_REGS`, `STACK_FRAME_OVERHEAD`; same file).
struct SwitchFrame {
    /// Bytes.
    size: u64,
    /// Where `nip` lies in it, which `_switch` returns to.
    nip: u64,
}

const SWITCH_FRAME: SwitchFrame = SwitchFrame { size: 432, nip: 48 + NIP };
const OLD_SWITCH_FRAME: SwitchFrame = SwitchFrame { size: 496, nip: 112 + NIP };

fn read(machine: &impl Machine, addr: Addr) -> Result<u64, Unreliable> {
    machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr))
}

fn aligned(sp: Addr) -> Result<Addr, Unreliable> {
    if sp.is_multiple_of(Ppc64::FRAME_ALIGN) { Ok(sp) } else { Err(Unreliable::Misaligned(sp)) }
}

/// Whether `pc` is no return address: where a task that has never run starts.
fn is_start(pc: Addr, machine: &impl Machine) -> bool {
    let mut before = [0; 4];
    pc.is_multiple_of(4) && machine.text(pc.wrapping_sub(4), &mut before) && !Ppc64::follows_call(pc, &before)
}

/// Whether the frame at `sp` is one that exception entry made: then what it interrupted, or `sp` if that is not known.
fn exception(sp: Addr, machine: &impl Machine) -> Option<Addr> {
    let frame = machine.word(sp)?.wrapping_sub(sp);
    let marked = |offset: &u64| {
        frame >= offset + MARKER_TO_INTERRUPTED && machine.word(sp.wrapping_add(*offset)) == Some(REGS_MARKER)
    };
    let marker = sp.wrapping_add(REGS_MARKER_OFFSETS.into_iter().find(marked)?);
    Some(machine.word(marker.wrapping_add(MARKER_TO_REGS + NIP)).unwrap_or(sp))
}

impl Unwind for Ppc64 {
    /// To kallsyms the labels at their calls end both (`arch/powerpc/kernel/trace/ftrace_entry.S`, in 6.1 `ftrace_mprofile.S`).
    const FTRACE_TEXT: &'static [Bounds] = &[[c"ftrace_regs_caller", c"ftrace_call"]];

    /// "General Stack Frame Requirements": quadword aligned.
    const FRAME_ALIGN: u64 = 16;

    /// The frame of whoever called `_switch`, whose return address is there twice: in the frame of `_switch`, for the
    /// register block, and in its caller's, for the ABI. So a frame that is none is noticed.
    ///
    /// In a task that has never run both were made up (`copy_thread` in `arch/powerpc/kernel/process.c`) and lead to the
    /// start of entry code, in the lowest frame there is. Older kernels only make up the block: no chain word leads from
    /// it, and that of the lowest frame is zero. `saved.pc` and `saved.fp` are not used.
    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        let switch = aligned(saved.sp)?;
        let sp = read(machine, switch)?;
        for frame in [SWITCH_FRAME, OLD_SWITCH_FRAME] {
            let pc = read(machine, switch.wrapping_add(frame.nip))?;
            if sp == switch.wrapping_add(frame.size) && machine.word(sp.wrapping_add(LR_SAVE)) == Some(pc) {
                return Ok(Cursor { pc, sp, fp: 0, exact: is_start(pc, machine) });
            }
        }
        let pc = read(machine, switch.wrapping_add(OLD_SWITCH_FRAME.nip))?;
        let lowest = switch.wrapping_add(OLD_SWITCH_FRAME.size);
        if machine.word(lowest) == Some(0) && is_start(pc, machine) {
            return Ok(Cursor { pc, sp: lowest, fp: 0, exact: true });
        }
        Err(Unreliable::NotTheBottom(switch))
    }

    /// `bottom` is the stack pointer that entry code set up before it called C: that frame's own chain word is user
    /// mode's stack pointer, or zero. Entry code is no function to be reported, unless somebody keeps the return address
    /// into it: one that is left over would be somebody's who was missed. `cursor.fp` is not used.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let callee = aligned(cursor.sp)?;
        if callee == bottom {
            return Ok(Step::Bottom);
        }
        if cursor.exact {
            return Err(Unreliable::CallerInRegister(cursor.pc));
        }
        let sp = read(machine, callee)?;
        if sp == bottom {
            let pc = read(machine, sp.wrapping_add(LR_SAVE))?;
            return Ok(match machine.code(pc) {
                Code::ReturnTrampoline(_) => Step::Caller(Cursor { pc, sp, fp: 0, exact: false }),
                _ => Step::Bottom,
            });
        }
        if sp == 0 {
            return Err(Unreliable::NotTheBottom(callee));
        }
        aligned(sp)?;
        // No frame has room just below the bottom, and none is above it.
        if sp.wrapping_sub(bottom.wrapping_sub(MIN_FRAME - 1)) < MIN_FRAME + ENTRY_FRAME {
            return Err(Unreliable::NotTheBottom(sp));
        }
        if let Some(interrupted) = exception(sp, machine) {
            return Err(Unreliable::Exception(interrupted));
        }
        Ok(Step::Caller(Cursor { pc: read(machine, sp.wrapping_add(LR_SAVE))?, sp, fp: 0, exact: false }))
    }
}

#[cfg(test)]
mod tests;
