// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which tasks may still run a patch's text.
//!
//! A task whose stack can be walked reliably may return to the functions on it and to nothing else. Of any other one the
//! words are searched, which is conservative: with the machine stopped every register of a task that matters is on its
//! stack (the scheduler or an exception put it there), so a task that may return into a range of text has a word on its
//! stack, between its stack pointer and the stack's high end, that is an address in the range. A return address that the
//! function-graph tracer or a return probe took off the stack is in that tracer's own list, which is searched too. Words
//! that only look like addresses delay a patch's end; they never hasten it.

use core::ffi::c_void;

use klp_core::platform::{Holder, Range};
use klp_core::unwind::{Found, Machine, Next, ReturnTrampoline};
use klp_core::{Addr, Architecture};

use crate::Native;
use crate::ffi::{self, KlpTask};
use crate::stacks::{Live, klp_rs_report_stack, walk_task};

struct Search<'a> {
    text: &'a [Range],
    holder: Option<Holder>,
}

/// Finds a task that may return into one of `text`. Stops the machine; may sleep.
pub(crate) fn find_holder(text: &[Range]) -> Option<Holder> {
    let mut search = Search { text, holder: None };
    // SAFETY: `look_at` is called during the call only, with this context.
    unsafe { ffi::klp_shim_stopped_each_task(look_at, (&raw mut search).cast()) };
    klp_rs_report_stack();
    search.holder
}

extern "C" fn look_at(search: *mut c_void, task: *const KlpTask) -> bool {
    // SAFETY: `find_holder` gave us its search, and the shim a task that lives during the call.
    let (search, task) = unsafe { (&mut *search.cast::<Search<'_>>(), &*task) };
    let held = |pc: Addr| search.text.iter().any(|text| text.holds_pc(pc));
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
    search.holder = found.map(|addr| Holder { pid: task.pid, comm: task.comm, addr });
    search.holder.is_none()
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
