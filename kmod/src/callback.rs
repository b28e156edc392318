// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The ftrace callback: any context, preemption off.

use core::ffi::c_void;
use core::sync::atomic::AtomicU64;

use klp_core::FtraceRedirect;
use klp_core::ftrace::{Registers, RegsLayout};
use klp_core::redirect::{self, Call, FuncRedirect};
use klp_core::return_stack::{MAX_WORDS, ReturnStack};

use crate::ffi::{self, KlpCurrent};
use crate::{Native, universe};

/// The register block that the trampoline saved.
struct Block(*mut c_void);

impl Registers for Block {
    #[inline]
    fn read(&self, offset: u16) -> u64 {
        // SAFETY: offsets come from the block's own layout (`offsetof` a 64-bit member); the block is the trampoline's
        // stack frame, which outlives the callback and which nobody else touches meanwhile.
        unsafe { self.0.byte_add(usize::from(offset)).cast::<u64>().read() }
    }

    #[inline]
    fn write(&mut self, offset: u16, value: u64) {
        // SAFETY: as in `read`.
        unsafe { self.0.byte_add(usize::from(offset)).cast::<u64>().write(value) };
    }
}

/// Redirects one call. `func` is the FuncRedirect of the hook whose callback runs, `task` the running task.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_redirect(func: *const FuncRedirect, caller: u64, regs: *mut c_void, task: u64) {
    // SAFETY: the hook exists as long as ftrace may call its callback; a constant of the shim, as which the block is laid out.
    unsafe { redirect_call(func, caller, regs, &ffi::klp_shim_regs_layout, task) };
}

/// As [`klp_rs_redirect`], of a function with a slot of its own.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_redirect_slot(func: *const FuncRedirect, caller: u64, regs: *mut c_void, task: u64) {
    // SAFETY: the hook has its thunk as long as calls may reach that; a constant of the shim, as which the block is laid out.
    unsafe { redirect_call(func, caller, regs, &ffi::klp_shim_slot_layout, task) };
}

/// # Safety
///
/// `func` is alive, `regs` a block of this layout, and preemption is off.
#[inline(always)]
unsafe fn redirect_call(
    func: *const FuncRedirect,
    caller: u64,
    regs: *mut c_void,
    layout: &RegsLayout,
    task: u64,
) {
    // SAFETY: the caller's promise.
    let func = unsafe { &*func };
    let return_stub = if Native::RETURN_STUB {
        // SAFETY: callable in any context.
        unsafe { ffi::klp_shim_return_stub() }
    } else {
        0
    };
    let return_stack = || {
        let mut current = KlpCurrent::default();
        // SAFETY: callable in any context.
        unsafe { ffi::klp_shim_current(&raw mut current) };
        // SAFETY: the low end of the running task's own stack: at least MAX_WORDS words that live as long as the task
        // runs, used by nothing but return stacks (word 0, the kernel's end-of-stack magic, is not touched), and
        // written only by this task and what interrupts it. Word aligned, as stacks are.
        let words = unsafe { core::slice::from_raw_parts(current.stack as *const AtomicU64, MAX_WORDS) };
        (ReturnStack::claim(words, current.stack, current.owner), current.size)
    };
    // SAFETY: preemption is off.
    let universe = || unsafe { universe::shown() }.of(task);
    let call = Call { caller, universe, return_stub, return_stack };
    redirect::redirect::<Native>(func, &mut Block(regs), layout, call);
}
