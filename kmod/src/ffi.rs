// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The border to the C shim: `shim/shim.h`, once more in Rust. Change both together.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use core::sync::atomic::AtomicU64;

use klp_core::ftrace::RegsLayout;
use klp_core::platform::Range;
use klp_core::redirect::FuncRedirect;
pub(crate) use klp_patch::abi::{
    KlpFunc, KlpObject, KlpOriginal, KlpPatch, KlpRelocSymbol, KlpRelocations, KlpState,
};

use crate::shadow::Shadow;

/// `enum klp_log`.
pub(crate) const LOG_ERROR: c_uint = 0;
pub(crate) const LOG_WARNING: c_uint = 1;
pub(crate) const LOG_NOTICE: c_uint = 2;
pub(crate) const LOG_DEBUG: c_uint = 3;
pub(crate) const LOG_HINT: c_uint = 4;

/// `enum klp_callback`.
pub(crate) const PRE_PATCH: c_uint = 0;
pub(crate) const POST_PATCH: c_uint = 1;
pub(crate) const PRE_UNPATCH: c_uint = 2;
pub(crate) const POST_UNPATCH: c_uint = 3;

/// `enum klp_entry`.
pub(crate) const ENTRY_NONE: c_uint = 0;
pub(crate) const ENTRY_CALLBACK: c_uint = 1;
pub(crate) const ENTRY_DIRECT: c_uint = 2;
pub(crate) const ENTRY_SLOT: c_uint = 3;

/// `struct klp_index`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct KlpIndex {
    pub(crate) patch: u32,
    pub(crate) object: u32,
    pub(crate) func: u32,
}

/// `struct klp_module`.
#[repr(C)]
pub(crate) struct KlpModule {
    pub(crate) name: *const c_char,
    pub(crate) text: Range,
}

/// `struct klp_current`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct KlpCurrent {
    pub(crate) stack: u64,
    pub(crate) size: u64,
    pub(crate) owner: u64,
}

/// `struct klp_task`.
#[repr(C)]
pub(crate) struct KlpTask {
    pub(crate) task: *mut c_void,
    pub(crate) pid: i32,
    pub(crate) comm: [u8; 16],
    pub(crate) start: u32,
    pub(crate) sp: u64,
    pub(crate) pc: u64,
    pub(crate) fp: u64,
    pub(crate) stack: u64,
    pub(crate) size: u64,
    pub(crate) bottom: u64,
    pub(crate) owner: u64,
    pub(crate) graph: u64,
    pub(crate) graph_size: u64,
    pub(crate) floor: u64,
    pub(crate) is_user: bool,
    pub(crate) booted: bool,
}

/// `KLP_START_SWITCHED_OUT`
pub(crate) const START_SWITCHED_OUT: u32 = 0;
/// `KLP_START_CALLER`
pub(crate) const START_CALLER: u32 = 1;
/// `KLP_START_RUNNING`
pub(crate) const START_RUNNING: u32 = 2;
/// `KLP_START_NO_STACK`
pub(crate) const START_NO_STACK: u32 = 3;

/// `struct klp_text`.
#[repr(C)]
pub(crate) struct KlpText {
    pub(crate) core: Range,
    pub(crate) init: Range,
    pub(crate) entry: Range,
    pub(crate) head: Range,
    pub(crate) graph: Range,
    pub(crate) probe: Range,
    pub(crate) ftrace: [Range; 2],
}

/// `struct klp_table`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct KlpTable {
    pub(crate) ip: u64,
    pub(crate) entries: u64,
    pub(crate) count: u64,
    pub(crate) index: u64,
    pub(crate) index_count: u64,
    pub(crate) index_start: u64,
    pub(crate) index_block: u64,
}

/// `struct klp_stack_frame` (`linux/klp_stack.h`).
#[repr(C)]
pub(crate) struct KlpStackFrame {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) found: u32,
    pub(crate) exact: u32,
}

/// `struct klp_stack` (`linux/klp_stack.h`).
#[repr(C)]
pub(crate) struct KlpStack {
    pub(crate) frames: *mut KlpStackFrame,
    pub(crate) size: u32,
    pub(crate) count: u32,
    pub(crate) reason: *const c_char,
    pub(crate) addr: u64,
}

/// `KLP_REDIRECT_SIZE`
pub(crate) const REDIRECT_SIZE: usize = 96;
const _: () = assert!(size_of::<FuncRedirect>() <= REDIRECT_SIZE && align_of::<FuncRedirect>() <= 8);
/// `klp_symbol_fn`
pub(crate) type SymbolFn = extern "C" fn(context: *mut c_void, addr: u64) -> bool;
/// `klp_task_fn`
pub(crate) type TaskFn = extern "C" fn(context: *mut c_void, task: *mut c_void) -> bool;
/// `klp_held_fn`
pub(crate) type HeldFn = extern "C" fn(context: *mut c_void, task: *const KlpTask);
/// `klp_work_fn`
pub(crate) type WorkFn = extern "C" fn(context: *mut c_void);

unsafe extern "C" {
    pub(crate) static klp_shim_regs_layout: RegsLayout;
    pub(crate) static klp_shim_return_stub_text: Range;
    pub(crate) static klp_shim_direct_text: Range;
    pub(crate) static klp_shim_thunk_text: Range;
    pub(crate) static klp_shim_slot_layout: RegsLayout;
    pub(crate) static klp_shim_walks: AtomicU64;
    pub(crate) static klp_shim_leave_text: Range;
    pub(crate) static klp_shim_noinstr_text: Range;
    pub(crate) static klp_shim_signal_after_ms: c_uint;
    pub(crate) static mut klp_shim_fail_nth: c_int;
    pub(crate) static klp_shim_out_of_reach: bool;
    pub(crate) static klp_shim_lists_data: bool;
    pub(crate) static klp_shim_page_size: usize;
    pub(crate) static klp_shim_text: KlpText;
    pub(crate) static klp_shim_core_table: KlpTable;
    pub(crate) static klp_shim_table_format: u32;

    pub(crate) fn klp_shim_alloc(size: usize) -> *mut c_void;
    pub(crate) fn klp_shim_free(memory: *const c_void);
    pub(crate) fn klp_shim_log(level: c_uint, line: *const c_char);

    pub(crate) fn klp_shim_lock();
    pub(crate) fn klp_shim_unlock();
    pub(crate) fn klp_shim_schedule_work(delay_ms: c_uint);
    pub(crate) fn klp_shim_sleep(ms: c_uint);

    pub(crate) fn klp_shim_current(out: *mut KlpCurrent);
    pub(crate) fn klp_shim_return_stub() -> u64;

    pub(crate) fn klp_shim_hook_size() -> usize;
    pub(crate) fn klp_shim_hook_init(hook: *mut c_void, site: u64, full_regs: bool);
    pub(crate) fn klp_shim_hook_redirect(hook: *mut c_void) -> *mut c_void;
    pub(crate) fn klp_shim_hook_arm(hook: *mut c_void) -> c_int;
    pub(crate) fn klp_shim_hook_disarm(hook: *mut c_void);
    pub(crate) fn klp_shim_hook_entry(hook: *const c_void) -> c_uint;
    pub(crate) fn klp_shim_hook_enter_cheaply(hook: *mut c_void, target: u64);
    pub(crate) fn klp_shim_hook_enter_by_callback(hook: *mut c_void) -> c_int;

    pub(crate) fn klp_shim_thunk_take(redirect: *const c_void, resume: u64) -> u64;
    pub(crate) fn klp_shim_thunk_give(thunk: u64);
    pub(crate) fn klp_shim_wait_for_calls();
    pub(crate) fn klp_shim_write_text(addr: u64, from: *const c_void, size: usize) -> c_int;
    pub(crate) fn klp_shim_write_literal(addr: u64, value: u64) -> c_int;
    pub(crate) fn klp_shim_write_live(addr: u64, code: *const c_void, size: usize) -> c_int;

    pub(crate) fn klp_shim_object_loaded(name: *const c_char) -> bool;
    pub(crate) fn klp_shim_find_module(name: *const c_char) -> *mut c_void;
    pub(crate) fn klp_shim_module_comes(module: *const c_void) -> c_int;
    pub(crate) fn klp_shim_module_came(module: *const c_void);
    pub(crate) fn klp_shim_each_symbol(
        object: *const c_char,
        name: *const c_char,
        data: bool,
        found: SymbolFn,
        context: *mut c_void,
    );
    pub(crate) fn klp_shim_ftrace_location(addr: u64) -> u64;
    pub(crate) fn klp_shim_has_probe(site: u64) -> bool;
    pub(crate) fn klp_shim_probes_lock() -> bool;
    pub(crate) fn klp_shim_probes_unlock();
    pub(crate) fn klp_shim_read(to: *mut c_void, addr: u64, size: usize) -> bool;
    pub(crate) fn klp_shim_function_size(addr: u64) -> u64;

    pub(crate) fn klp_shim_module_info(module: *mut c_void, out: *mut KlpModule);
    pub(crate) fn klp_shim_module_get(module: *mut c_void) -> bool;
    pub(crate) fn klp_shim_module_put(module: *mut c_void);

    pub(crate) fn klp_shim_set_original(original: *mut KlpOriginal, func: *mut c_void);
    pub(crate) fn klp_shim_object_callback(object: *mut KlpObject, which: c_uint) -> c_int;

    pub(crate) fn klp_shim_stop_machine(work: WorkFn, context: *mut c_void);
    pub(crate) fn klp_shim_each_task(each: TaskFn, context: *mut c_void);
    pub(crate) fn klp_shim_show_stopped(shown: *mut KlpTask, task: *mut c_void);
    pub(crate) fn klp_shim_hold(task: *mut c_void, look: HeldFn, context: *mut c_void) -> bool;
    pub(crate) fn klp_shim_task_count() -> usize;
    pub(crate) fn klp_shim_pin(task: *mut c_void);
    pub(crate) fn klp_shim_unpin(task: *mut c_void);
    pub(crate) fn klp_shim_now_ms() -> u64;
    pub(crate) fn klp_shim_is_own(object: *const c_char) -> bool;
    pub(crate) fn klp_shim_ask_to_leave(task: *mut c_void) -> c_int;
    pub(crate) fn klp_shim_ask_no_more(task: *mut c_void);
    pub(crate) fn klp_shim_gather(wait: bool);
    pub(crate) fn klp_shim_symbol(addr: u64, name: *mut c_char) -> usize;
    pub(crate) fn klp_shim_wait_for_exits();
    pub(crate) fn klp_shim_wake(task: *mut c_void);
    pub(crate) fn klp_shim_show_blocked(
        line: *mut c_char,
        size: usize,
        task: *mut c_void,
        addr: u64,
        why: *const c_char,
        ms: u64,
    ) -> c_int;

    pub(crate) fn klp_shim_pending_return(task: *mut c_void, keeper: c_uint, nth: usize) -> u64;
    pub(crate) fn klp_shim_is_module_text(pc: u64, text: *mut Range) -> bool;
    pub(crate) fn klp_shim_is_generated_text(pc: u64) -> bool;
    pub(crate) fn klp_shim_module_table(pc: u64, table: *mut KlpTable) -> bool;

    pub(crate) fn klp_shim_shadow_read_lock();
    pub(crate) fn klp_shim_shadow_read_unlock();
    pub(crate) fn klp_shim_shadow_lock() -> c_ulong;
    pub(crate) fn klp_shim_shadow_unlock(flags: c_ulong);
    pub(crate) fn klp_shim_shadow_new(size: usize, gfp: u32) -> *mut Shadow;
    pub(crate) fn klp_shim_shadow_discard(shadow: *mut Shadow);
    pub(crate) fn klp_shim_shadow_free(shadow: *mut Shadow);
    pub(crate) fn klp_shim_shadow_exists(obj: *mut c_void, id: c_ulong);
    pub(crate) fn klp_shim_shadow_not_constructed(obj: *mut c_void, id: c_ulong, err: c_int);
    pub(crate) fn klp_shim_shadow_left(id: c_ulong, count: usize);

    pub(crate) fn klp_shim_page_map(addr: u64) -> *mut c_void;
    pub(crate) fn klp_shim_page_unmap(mapped: *const c_void);
    pub(crate) fn klp_shim_text_written(addr: u64, size: usize);

    pub(crate) fn klp_shim_node_size() -> usize;
    pub(crate) fn klp_shim_node_add(
        node: *mut c_void,
        parent: *mut c_void,
        kind: c_uint,
        index: KlpIndex,
        name: *const c_char,
        position: u64,
    ) -> c_int;
    pub(crate) fn klp_shim_node_del(node: *mut c_void);
}
