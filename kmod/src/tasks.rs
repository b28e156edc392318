// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What tasks may still run: a patch's text, or the functions that a transition changes.
//!
//! A task whose stack can be walked reliably may return to the functions on it and to nothing else. A transition switches
//! no other ones. Text that is to be freed cannot wait for them: of a task that cannot be walked reliably the words are
//! searched, which is conservative: with the machine stopped every register of a task that matters is on its stack (the
//! scheduler or an exception put it there), so a task that may return into a range of text has a word on its stack,
//! between its stack pointer and the stack's high end, that is an address in the range. A return address that the
//! function-graph tracer or a return probe took off the stack is in that tracer's own list, which is searched too. Words
//! that only look like addresses delay a patch's end; they never hasten it.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use klp_core::engine::code::Code;
use klp_core::patch::Leave;
use klp_core::platform::{Hold, Holder, Range, TaskId};
use klp_core::unwind::{Found, Machine, Next, ReturnTrampoline, Seen, Unreliable};
use klp_core::{Addr, Architecture};

use crate::Native;
use crate::ffi::{self, KlpTask};
use crate::stacks::{Live, klp_rs_report_stack, walk_task, walk_task_again};

/// What the walks of [`check`] and [`check_stopped`] have learnt since the engine's lock was taken. Only the engine asks for
/// them, with its lock held: there is one at a time.
static SEEN: Seen = Seen::new();

/// Another pass over the tasks may begin: the engine's lock was taken.
pub(crate) fn forget_seen() {
    SEEN.forget();
}

/// The task as C names it.
pub(crate) fn pointer(task: TaskId) -> *mut c_void {
    task.0 as *mut c_void
}

/// Stops the machine and does the work there. May sleep.
pub(crate) fn stop_machine(mut work: &mut dyn FnMut()) {
    extern "C" fn stopped(work: *mut c_void) {
        // SAFETY: the `work` below, which nobody else uses during the call.
        let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
        work();
    }
    // SAFETY: `stopped` is called during the call only, with this context.
    unsafe { ffi::klp_shim_stop_machine(stopped, (&raw mut work).cast()) };
}

/// Calls `each` with all tasks until it answers `false`. The machine is stopped.
pub(crate) fn each_task(mut each: &mut dyn FnMut(TaskId) -> bool) {
    extern "C" fn found(each: *mut c_void, task: *mut c_void) -> bool {
        // SAFETY: the `each` below, which nobody else uses during the call.
        let each = unsafe { &mut *each.cast::<&mut dyn FnMut(TaskId) -> bool>() };
        each(TaskId(task as Addr))
    }
    // SAFETY: `found` is called during the call only, with this context; the machine is stopped.
    unsafe { ffi::klp_shim_each_task(found, (&raw mut each).cast()) };
}

/// A task as it is while the machine is stopped.
fn stopped(task: TaskId) -> KlpTask {
    let mut shown = MaybeUninit::uninit();
    // SAFETY: the task exists: it is pinned, or was found with the machine stopped. The shim fills in all of it.
    unsafe {
        ffi::klp_shim_show_stopped(shown.as_mut_ptr(), pointer(task));
        shown.assume_init()
    }
}

/// As `Platform::check`.
pub(crate) fn check(
    task: TaskId,
    code: Code<'_>,
    leave: Leave,
    switch: &mut dyn FnMut(),
) -> Result<(), Hold> {
    struct Check<'a> {
        code: Code<'a>,
        leave: Leave,
        switch: &'a mut dyn FnMut(),
        result: Result<(), Hold>,
    }
    extern "C" fn held(check: *mut c_void, task: *const KlpTask) {
        // SAFETY: the `check` below, which nobody else uses during the call, and the shim's task.
        let (check, task) = unsafe { (&mut *check.cast::<Check<'_>>(), &*task) };
        check.result = has_left(task, check.code, check.leave);
        if check.result.is_ok() {
            (check.switch)();
        }
    }
    // As if it ran, if it cannot be held still: then it is looked at with the machine stopped.
    let mut check = Check { code, leave, switch, result: Err(Hold::Running) };
    // SAFETY: the task is pinned; `held` is called during the call only, with this context.
    unsafe { ffi::klp_shim_hold(pointer(task), held, (&raw mut check).cast()) };
    check.result
}

/// As `Platform::check_stopped`.
pub(crate) fn check_stopped(task: TaskId, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
    has_left(&stopped(task), code, leave)
}

/// Whether a task that is held still may be switched.
fn has_left(task: &KlpTask, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
    if task.start == ffi::START_NO_STACK {
        return Ok(());
    }
    if leave == Leave::Kernel && task.is_user {
        return Err(Hold::InKernel);
    }
    // SAFETY: only ever written so; debugfs reads it.
    unsafe { &ffi::klp_shim_walks }.fetch_add(1, Ordering::Relaxed);
    let mut inside = None;
    let walked = walk_task_again(task, &SEEN, |frame| match code.held_at(frame) {
        Some(pc) => {
            inside = Some(pc);
            Next::Stop
        }
        None => Next::Continue,
    });
    match (inside, walked) {
        (Some(pc), _) => Err(Hold::Code(pc)),
        (None, Ok(_)) => Ok(()),
        (None, Err(Unreliable::Running)) => Err(Hold::Running),
        (None, Err(reason)) => Err(Hold::Unreliable(reason)),
    }
}

/// Finds a task that may return into one of `text`. Stops the machine; may sleep.
pub(crate) fn find_holder(text: &[Range]) -> Option<Holder> {
    let mut holder = None;
    stop_machine(&mut || {
        each_task(&mut |task| {
            holder = look_at(text, &stopped(task));
            holder.is_none()
        });
    });
    klp_rs_report_stack();
    holder
}

fn look_at(text: &[Range], task: &KlpTask) -> Option<Holder> {
    // Nothing runs on it any more, whatever lies there.
    if task.start == ffi::START_NO_STACK {
        return None;
    }
    let held = |pc: Addr| text.iter().any(|text| text.holds_pc(pc));
    let mut found = None;
    // SAFETY: a constant once the module is initialised.
    let stub = unsafe { ffi::klp_shim_return_stub_text };
    let mut interrupted = false;
    let walked = walk_task(task, |frame| {
        // The frame above returns to the stub, which the walk looks through.
        let through_stub = frame.found == Found::Kept(ReturnTrampoline::Patch);
        interrupted |= frame.found == Found::Registers;
        if held(frame.cursor.pc) || through_stub && held(stub.start) {
            found = Some(frame.cursor.pc);
            return Next::Stop;
        }
        Next::Continue
    });
    // Interrupted code may be about to jump to what it has in a register only, which is then on the stack.
    if found.is_none() && (walked.is_err() || interrupted) {
        let live = &Live::new(task);
        let kept = ReturnTrampoline::ALL
            .into_iter()
            .flat_map(|keeper| (0..).map_while(move |nth| live.pending_return(keeper, nth)));
        found = words(task)
            .chain(range(task.graph, task.graph_size))
            .chain(kept)
            .map(Native::strip_return_address)
            .find(|word| held(*word));
    }
    found.map(|addr| Holder { pid: task.pid, comm: task.comm, addr })
}

/// The words of a task's stack that are in use: from its stack pointer, or all of them if that is not on the stack.
fn words(task: &KlpTask) -> impl Iterator<Item = u64> {
    let end = task.stack + task.size;
    let start = if task.floor >= task.stack && task.floor < end { task.floor & !7 } else { task.stack };
    range(start, end - start)
}

/// The words of `size` bytes at `addr`.
fn range(addr: u64, size: u64) -> impl Iterator<Item = u64> {
    (addr..addr + size).step_by(8).map(|addr| {
        // SAFETY: inside the stack, or the return stack of the tracer, of a task that exists, word aligned; with the
        // machine stopped nobody writes it but the CPU that runs this, elsewhere on its own stack. Volatile, since it is
        // no Rust object.
        unsafe { (addr as *const u64).read_volatile() }
    })
}
