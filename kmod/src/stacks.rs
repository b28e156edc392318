// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack walks in the running kernel: klp-core's walker over a task that is held still.

use core::cell::{Cell, OnceCell, UnsafeCell};
use core::ffi::{c_char, c_int};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use klp_core::Addr;
use klp_core::platform::{Level, Platform, Range};
use klp_core::return_stack::{MAX_WORDS, ReturnStack};
use klp_core::unwind::{
    BlockIndex, Code, Cursor, Found, Frame, Machine, Memory, Next, Remembered, ReturnTrampoline, Saved, Seen,
    Start, TableFormat, Task, Unreliable, UnwindInfo, UnwindTable, Verdict, walk,
};

use crate::Native;
use crate::ffi::{self, KlpStack, KlpStackFrame, KlpTable, KlpTask, KlpText};
use crate::platform::Kernel;

/// The running kernel, as far as one task's walk looks at it. Preemption is off.
pub(crate) struct Live<'a> {
    task: &'a KlpTask,
    text: &'static KlpText,
    /// The kernel's own unwind table, once it was needed.
    core: OnceCell<Option<UnwindTable<'static>>>,
    /// The module that was last asked for: neighbouring frames are mostly of the same one.
    module: Cell<Module<'a>>,
}

/// A module's text, and its unwind table.
#[derive(Clone, Copy, Default)]
struct Module<'a> {
    text: Range,
    table: Option<UnwindTable<'a>>,
}

fn inside(range: Range, addr: Addr) -> bool {
    addr.wrapping_sub(range.start) < range.size
}

/// A table that the shim describes.
///
/// # Safety
///
/// It stays as it is during `'a`.
unsafe fn table<'a>(table: &KlpTable) -> Option<UnwindTable<'a>> {
    if table.count == 0 {
        return None;
    }
    let count = usize::try_from(table.count).ok()?;
    let index_count = usize::try_from(table.index_count).ok()?;
    // SAFETY: the shim says how long the table is, and the caller that it stays.
    let (offsets, entries) = unsafe {
        (
            core::slice::from_raw_parts(table.ip as *const i32, count),
            core::slice::from_raw_parts(table.entries as *const [u8; UnwindTable::ENTRY_SIZE], count),
        )
    };
    let index = (index_count != 0).then(|| BlockIndex {
        start: table.index_start,
        block: table.index_block,
        // SAFETY: as above.
        first: unsafe { core::slice::from_raw_parts(table.index as *const u32, index_count) },
    });
    Some(UnwindTable { base: table.ip, offsets, entries, index })
}

impl<'a> Live<'a> {
    #[inline]
    pub(crate) fn new(task: &'a KlpTask) -> Live<'a> {
        // SAFETY: constant once the module is initialised.
        let text = unsafe { &ffi::klp_shim_text };
        Live { task, text, core: OnceCell::new(), module: Cell::default() }
    }

    /// Whether `pc` is in a module's text, which is then in `self.module`.
    #[inline]
    fn is_module_text(&self, pc: Addr) -> bool {
        inside(self.module.get().text, pc) || self.find_module(pc)
    }

    #[cold]
    fn find_module(&self, pc: Addr) -> bool {
        let mut text = Range::default();
        let mut described = KlpTable::default();
        // SAFETY: preemption is off, as whoever holds the task still has it; the module of text on the stack of a task
        // that is held still stays.
        let table = unsafe {
            if !ffi::klp_shim_is_module_text(pc, &raw mut text) {
                return false;
            }
            if ffi::klp_shim_module_table(pc, &raw mut described) { table(&described) } else { None }
        };
        self.module.set(Module { text, table });
        true
    }
}

impl Memory for Live<'_> {
    #[inline]
    fn word(&self, addr: Addr) -> Option<u64> {
        // SAFETY: the walker asks for aligned words inside the stack of the task only, which is held still and so keeps
        // its stack. Volatile, since it is no Rust object.
        Some(unsafe { (addr as *const u64).read_volatile() })
    }
}

impl Machine for Live<'_> {
    #[inline]
    fn code(&self, pc: Addr) -> Code {
        let text = self.text;
        if inside(text.core, pc) {
            return match pc {
                _ if pc == text.graph.start => Code::ReturnTrampoline(ReturnTrampoline::Graph),
                _ if pc == text.probe.start => Code::ReturnTrampoline(ReturnTrampoline::Probe),
                // The keeper's own code: the return address has left its list, and is in a register.
                _ if inside(text.graph, pc) || inside(text.probe, pc) => Code::Generated,
                // The redirect of a call that was preempted here is in the register block only.
                _ if inside(text.ftrace[0], pc) || inside(text.ftrace[1], pc) => Code::Generated,
                _ if inside(text.entry, pc) => Code::Entry,
                _ => Code::Function,
            };
        }
        if inside(text.head, pc) {
            return Code::Entry;
        }
        if self.task.booted && inside(text.init, pc) {
            return Code::Discarded;
        }
        if self.is_module_text(pc) {
            // SAFETY: constants once the module is initialised.
            let (stub, direct, thunks) = unsafe {
                (ffi::klp_shim_return_stub_text, ffi::klp_shim_direct_text, ffi::klp_shim_thunk_text)
            };
            return match pc {
                _ if inside(stub, pc) => Code::ReturnTrampoline(ReturnTrampoline::Patch),
                // On its way to a replacement that is not on the stack yet.
                _ if inside(direct, pc) || inside(thunks, pc) => Code::Generated,
                _ => Code::Function,
            };
        }
        // SAFETY: takes any address.
        if unsafe { ffi::klp_shim_is_generated_text(pc) } { Code::Generated } else { Code::NotText }
    }

    #[inline]
    fn return_trampoline(&self, pc: Addr) -> Option<ReturnTrampoline> {
        // SAFETY: constant once the module is initialised.
        let stub = unsafe { ffi::klp_shim_return_stub_text };
        match pc {
            _ if pc == self.text.graph.start => Some(ReturnTrampoline::Graph),
            _ if pc == self.text.probe.start => Some(ReturnTrampoline::Probe),
            _ if inside(stub, pc) => Some(ReturnTrampoline::Patch),
            _ => None,
        }
    }

    #[inline]
    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        let last = addr.wrapping_add(bytes.len() as u64).wrapping_sub(1);
        let mapped = |text: Range| inside(text, addr) && inside(text, last);
        if bytes.len() <= 8 && (mapped(self.text.core) || mapped(self.module.get().text)) {
            let first = addr & !7;
            let word = |addr: Addr| {
                // SAFETY: an aligned word with a byte in text of the kernel, or of a module that stays, which is mapped
                // and readable. Volatile, since text may be patched meanwhile.
                unsafe { (addr as *const u64).read_volatile() }.to_ne_bytes()
            };
            let mut words = [0; 16];
            words[..8].copy_from_slice(&word(first));
            words[8..].copy_from_slice(&word(last & !7));
            let from = usize::from((addr & 7) as u8);
            // Both are the same word where the bytes do not cross its end, and then none is taken from the second.
            if let (Ok(bytes), Some(found)) =
                (<&mut [u8; 8]>::try_from(&mut *bytes), words[from..].first_chunk())
            {
                *bytes = *found;
            } else {
                bytes.copy_from_slice(&words[from..from + bytes.len()]);
            }
            return true;
        }
        // SAFETY: the destination is ours; the source may be any address, a fault is an answer.
        unsafe { ffi::klp_shim_read(bytes.as_mut_ptr().cast(), addr, bytes.len()) }
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        let addr = match keeper {
            // SAFETY: the task exists and is held still, so nobody changes its lists.
            ReturnTrampoline::Graph => unsafe { ffi::klp_shim_pending_return(self.task.task, 0, nth) },
            // SAFETY: as above.
            ReturnTrampoline::Probe => unsafe { ffi::klp_shim_pending_return(self.task.task, 1, nth) },
            ReturnTrampoline::Patch => {
                // SAFETY: constant once the module is initialised.
                if unsafe { ffi::klp_shim_return_stub_text.size } == 0 {
                    return None;
                }
                // SAFETY: the low end of the task's stack, which it keeps while it is held still: at least MAX_WORDS
                // aligned words that only return stacks use.
                let words =
                    unsafe { core::slice::from_raw_parts(self.task.stack as *const AtomicU64, MAX_WORDS) };
                let stack = ReturnStack::of(words, self.task.stack, self.task.owner)?;
                stack.newest(nth)?.ra
            }
        };
        (addr != 0).then_some(addr)
    }

    #[inline]
    fn unwind_info(&self) -> UnwindInfo {
        // SAFETY: a constant.
        match unsafe { ffi::klp_shim_table_format } {
            1 => UnwindInfo::Tables(TableFormat::EndBit),
            2 => UnwindInfo::Tables(TableFormat::SignalBit),
            _ => UnwindInfo::Frames,
        }
    }

    #[inline]
    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        if inside(self.text.core, pc) || inside(self.text.init, pc) {
            // SAFETY: constant once the module is initialised, and the kernel's own table always stays.
            return *self.core.get_or_init(|| unsafe { table(&ffi::klp_shim_core_table) });
        }
        if self.is_module_text(pc) { self.module.get().table } else { None }
    }

    #[inline]
    fn is_permanent(&self, pc: Addr) -> bool {
        inside(self.text.core, pc)
    }
}

/// Walks the stack of a task that is held still.
pub(crate) fn walk_task(task: &KlpTask, found: impl FnMut(&Frame) -> Next) -> Result<Verdict, Unreliable> {
    walk_on(task, &Live::new(task), found)
}

/// As [`walk_task`], with what earlier walks have learnt, which nobody else uses meanwhile.
pub(crate) fn walk_task_again(
    task: &KlpTask,
    seen: &Seen,
    found: impl FnMut(&Frame) -> Next,
) -> Result<Verdict, Unreliable> {
    walk_on(task, &Remembered { machine: &Live::new(task), seen }, found)
}

#[inline]
fn walk_on(
    task: &KlpTask,
    machine: &impl Machine,
    found: impl FnMut(&Frame) -> Next,
) -> Result<Verdict, Unreliable> {
    let start = match task.start {
        ffi::START_SWITCHED_OUT => Start::SwitchedOut(Saved { sp: task.sp, pc: task.pc, fp: task.fp }),
        ffi::START_CALLER => Start::At(Cursor { pc: task.pc, sp: task.sp, fp: task.fp, exact: false }),
        ffi::START_RUNNING => return Err(Unreliable::Running),
        _ => return Err(Unreliable::NoStack),
    };
    let stacks = [Range { start: task.stack, size: task.size }];
    let verdict = walk::<Native>(&Task { start, stacks: &stacks, bottom: task.bottom }, machine, found);
    if let Err(reason) = verdict
        && reason.is_unexpected()
    {
        UNEXPECTED.keep(task, reason);
    }
    verdict
}

/// As `klp_sdk_walk_stack` says (`linux/klp_stack.h`); the verdict in words goes to `text`, if there is any room.
#[unsafe(no_mangle)]
extern "C" fn klp_rs_walk_stack(
    task: *const KlpTask,
    stack: *mut KlpStack,
    text: *mut c_char,
    size: usize,
) -> c_int {
    // SAFETY: the shim's task, and its caller's walk, which nobody else uses during the call.
    let (task, stack) = unsafe { (&*task, &mut *stack) };
    stack.count = 0;
    stack.reason = core::ptr::null();
    stack.addr = 0;
    let mut fits = true;
    let verdict = walk_task(task, |frame| {
        if stack.count == stack.size {
            fits = false;
            return Next::Stop;
        }
        let shown = KlpStackFrame {
            pc: frame.cursor.pc,
            sp: frame.cursor.sp,
            found: found_number(frame.found),
            exact: u32::from(frame.cursor.exact),
        };
        // SAFETY: `count` is less than `size`, the number of frames there is room for.
        unsafe { stack.frames.add(stack.count as usize).write(shown) };
        stack.count += 1;
        Next::Continue
    });
    if size > 0 {
        // SAFETY: the shim's buffer of that size.
        let bytes = unsafe { core::slice::from_raw_parts_mut(text.cast::<u8>(), size) };
        let mut words = Words { bytes, len: 0 };
        let _ = match verdict {
            Ok(Verdict::Reliable) => words.write_str("reliable"),
            Ok(Verdict::Stopped) => words.write_str("stopped: more frames than can be shown"),
            Err(reason) => write!(words, "unreliable {}: {reason}", reason.name()),
        };
    }
    match verdict {
        Ok(_) if !fits => -28,
        Ok(_) => 0,
        Err(reason) => {
            stack.reason = reason.c_name().as_ptr();
            stack.addr = reason.addr().unwrap_or(0);
            -22
        }
    }
}

/// `enum klp_stack_found`
fn found_number(found: Found) -> u32 {
    match found {
        Found::Start => 0,
        Found::Chain => 1,
        Found::Table => 2,
        Found::Registers => 3,
        Found::Kept(ReturnTrampoline::Graph) => 4,
        Found::Kept(ReturnTrampoline::Probe) => 5,
        Found::Kept(ReturnTrampoline::Patch) => 6,
    }
}

/// Text of limited length; what does not fit is cut off. Ends in a zero byte, for C.
struct Words<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Write for Words<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.len;
        let text = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
        self.bytes[self.len] = 0;
        Ok(())
    }
}

/// How many words of a stack are kept for the log.
const KEPT_WORDS: usize = 64;

/// A walk that should have been reliable and was not, until it is logged: it is met where nothing can be. One for each reason,
/// so that a broken stack does not flood the log.
struct Unexpected {
    state: AtomicU8,
    /// The reasons that were met, a bit for each number.
    reasons: AtomicU32,
    what: UnsafeCell<Option<What>>,
}

#[derive(Clone, Copy)]
struct What {
    pid: i32,
    comm: [u8; 16],
    reason: Unreliable,
    stack: Range,
    sp: Addr,
    words: [u64; KEPT_WORDS],
}

const NOTHING: u8 = 0;
const KEEPING: u8 = 1;
const KEPT: u8 = 2;
const TAKING: u8 = 3;

// SAFETY: `what` is only touched by whoever moved `state` away from NOTHING, and after that by whoever moved it away from
// KEPT.
unsafe impl Sync for Unexpected {}

static UNEXPECTED: Unexpected =
    Unexpected { state: AtomicU8::new(NOTHING), reasons: AtomicU32::new(0), what: UnsafeCell::new(None) };

impl Unexpected {
    fn keep(&self, task: &KlpTask, reason: Unreliable) {
        let bit = 1 << reason.number();
        if self.reasons.load(Ordering::Relaxed) & bit != 0 {
            return;
        }
        if self.state.compare_exchange(NOTHING, KEEPING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        let stack = Range { start: task.stack, size: task.size };
        let near = reason.addr().filter(|addr| inside(stack, *addr)).unwrap_or(task.sp) & !7;
        // Some of what lies below tells where the address came from.
        let sp = near.saturating_sub(8 * 16).max(task.stack);
        let words = core::array::from_fn(|i| {
            let addr = sp + 8 * i as u64;
            if inside(stack, addr) { Live::new(task).word(addr).unwrap_or(0) } else { 0 }
        });
        // SAFETY: `state` is KEEPING, which we made it.
        unsafe { *self.what.get() = Some(What { pid: task.pid, comm: task.comm, reason, stack, sp, words }) };
        self.reasons.fetch_or(bit, Ordering::Relaxed);
        self.state.store(KEPT, Ordering::Release);
    }

    fn take(&self) -> Option<What> {
        self.state.compare_exchange(KEPT, TAKING, Ordering::Acquire, Ordering::Relaxed).ok()?;
        // SAFETY: `state` was KEPT and we made it TAKING, so nobody else touches it.
        let what = unsafe { (*self.what.get()).take() };
        self.state.store(NOTHING, Ordering::Release);
        what
    }
}

/// Logs a walk that should have been reliable and was not, the first one for each reason. Process context.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn klp_rs_report_stack() {
    let Some(What { pid, comm, reason, stack, sp, words }) = UNEXPECTED.take() else { return };
    let comm = core::str::from_utf8(&comm).unwrap_or("?").trim_end_matches('\0');
    Kernel.log(
        Level::Hint,
        format_args!(
            "the stack of task {pid} ({comm}) cannot be walked ({}): {reason}; it is {:#x} to {:#x}; please report this",
            reason.name(),
            stack.start,
            stack.start + stack.size
        ),
    );
    for (line, words) in words.chunks(4).enumerate() {
        let addr = sp + 32 * line as u64;
        if !inside(stack, addr) {
            break;
        }
        let [a, b, c, d] = [words[0], words[1], words[2], words[3]];
        Kernel.log(Level::Hint, format_args!("{addr:016x}: {a:016x} {b:016x} {c:016x} {d:016x}"));
    }
}
