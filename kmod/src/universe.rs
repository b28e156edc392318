// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The table of universes, as callbacks and tasks that leave the kernel find it.

use klp_core::Addr;
use klp_core::universe::{Shown, Slot, Universes};
use klp_core::unwind::{Next, Unwind};

use crate::Native;
use crate::ffi::{self, KlpTask};
use crate::stacks::walk_task;

static SHOWN: Shown = Shown::new();

/// Makes everybody look at these slots: see `Platform::show_universes`, whose caller keeps them where they are.
pub(crate) fn show(slots: &[Slot]) {
    SHOWN.show(slots);
}

/// The table that is shown.
///
/// # Safety
///
/// Preemption is off, and stays so while the table is used: whoever frees the slots waits for every CPU first.
pub(crate) unsafe fn shown<'a>() -> Universes<'a> {
    let first = SHOWN.first();
    if first.is_null() {
        return Universes::new(&[]);
    }
    // SAFETY: by the contract of `Platform::show_universes` the slots exist until every CPU was seen outside of sections
    // with preemption off after others were shown; the first one says how many they are.
    Universes::new(unsafe { core::slice::from_raw_parts(first, (*first).table_len()) })
}

/// The running task executes what it was asked to do on its way out of the kernel. It has left if all its callers belong to
/// that way: such work is also done in the middle of some system calls (`io_cqring_wait`, `xfer_to_guest_mode_work`,
/// `ptrace_notify`). Else it is asked again. Answers whether it waits there. Preemption is off.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_leaves(task: *const KlpTask, waits: bool) -> bool {
    // SAFETY: the shim's own variable; preemption is off.
    let (task, universes) = unsafe { (&*task, shown()) };
    universes.leave(task.task as Addr, waits, || is_at_the_border(task))
}

/// The running task goes on by itself, though it was to wait. Preemption is off.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_waits_no_more(task: u64) {
    // SAFETY: preemption is off.
    if let Some(listed) = unsafe { shown() }.listed(task) {
        listed.set_waiting(false);
    }
}

/// What lies between a system call, interrupt or exception and user mode, beside entry code that is not instrumented
/// (`kernel/entry/common.c`, `arch/powerpc/kernel/interrupt.c`, `arch/s390/kernel/entry.S`, `arch/*/kernel/signal.c`,
/// `kernel/signal.c`); the architecture may know more. A name that is missing makes a task be asked again, for ever.
const COMMON: &[&str] = &[
    "task_work_run",
    "resume_user_mode_work",
    "get_signal",
    "arch_do_signal_or_restart",
    "do_signal",
    "do_notify_resume",
    "do_work_pending",
    "exit_to_user_mode_loop",
    "exit_to_user_mode_prepare",
    "syscall_exit_to_user_mode",
    "syscall_exit_to_user_mode_prepare",
    "syscall_exit_to_user_mode_work",
    "irqentry_exit_to_user_mode",
    "syscall_exit_prepare",
    "interrupt_exit_user_prepare",
    "interrupt_exit_user_prepare_main",
    "system_call",
    "pgm_check_handler",
    "io_int_handler",
    "ext_int_handler",
    "mcck_int_handler",
    "do_syscall_64",
    "do_fast_syscall_32",
    "do_int80_emulation",
    "__do_fast_syscall_32",
    "ret_from_fork",
    "ret_from_fork_asm",
    "ret_from_kernel_thread",
    "ret_from_kernel_user_thread",
];

/// These, and those of the architecture.
const WAY_OUT: [&str; COMMON.len() + Native::WAY_OUT.len()] = {
    let (mut all, mut i) = ([""; COMMON.len() + Native::WAY_OUT.len()], 0);
    while i < all.len() {
        all[i] = if i < COMMON.len() { COMMON[i] } else { Native::WAY_OUT[i - COMMON.len()] };
        i += 1;
    }
    all
};

/// Longest symbol with its module's name (KSYM_SYMBOL_LEN of `include/linux/kallsyms.h`, in the newer kernels).
const SYMBOL: usize = 640;

fn is_at_the_border(task: &KlpTask) -> bool {
    // SAFETY: constants once the module is initialised.
    let (noinstr, entry) = unsafe { (ffi::klp_shim_noinstr_text, ffi::klp_shim_text.entry) };
    let mut border = true;
    let walked = walk_task(task, |frame| {
        let pc = if frame.cursor.exact { frame.cursor.pc } else { frame.cursor.pc.wrapping_sub(1) };
        border = noinstr.contains(pc) || entry.contains(pc) || is_way_out_at(pc);
        if border { Next::Continue } else { Next::Stop }
    });
    border && walked.is_ok()
}

fn is_way_out_at(pc: Addr) -> bool {
    let mut name = [0; SYMBOL];
    // SAFETY: room for the longest symbol.
    let length = unsafe { ffi::klp_shim_symbol(pc, name.as_mut_ptr().cast()) };
    let name = core::str::from_utf8(&name[..length.min(SYMBOL)]).unwrap_or_default();
    is_way_out(name)
}

/// Whether a function of this name is on the way out. The compiler's clones are as good: NAME.isra.0, NAME.constprop.0.
pub(crate) fn is_way_out(name: &str) -> bool {
    WAY_OUT.contains(&name.split('.').next().unwrap_or_default())
}
