// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The simulated kernel: symbols, text, ftrace, modules, tasks, callbacks, a log.
//!
//! It watches as much as it serves: a callback out of turn, a hook freed while it is armed, text that goes while it is
//! hooked end the test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use klp_core::branch::BranchKind;
use klp_core::engine::code::Code;
use klp_core::patch::Leave;
use klp_core::platform::{Callback, Errno, Hold, Holder, Hook, Level, NoMemory, Platform, Range, TaskId};
use klp_core::redirect::FuncRedirect;
use klp_core::universe::{Slot, Universe, Universes};
use klp_core::unwind::{Cursor, Found, Frame};
use klp_core::{Addr, FarBranch};

use super::arch::{INSN, NOP, PAD, RET, Toy};
use super::fault::{self, Fault};
use super::list::SimList;

/// Where ftrace's trampoline lies.
const TRAMPOLINE: Addr = 0xffff_ffff_81f0_0000;
const VMLINUX: Addr = 0xffff_ffff_8100_0000;
const MODULES: Addr = 0xffff_ffff_8180_0000;
/// Bytes from one function to the next.
const SPACING: u64 = 0x40;

/// A function symbol, and the text it names.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// `None`: vmlinux.
    pub(crate) object: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) addr: Addr,
    /// What ftrace says its site is.
    pub(crate) location: Option<Addr>,
    /// Its first bytes; empty if they cannot be read.
    pub(crate) code: Vec<u8>,
}

/// What a function that is to be defined looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A patch site at its start.
    Site,
    /// A patch site behind a landing pad.
    PadThenSite,
    /// No patch site: `notrace`.
    NoSite,
    /// ftrace knows a site that is another function's, so many bytes further on.
    FarSite(u64),
    /// A patch site, and there is neither NOP nor call.
    Garbage,
    /// A patch site in text that cannot be read.
    Unreadable,
}

/// Whose callbacks: the patch and the object.
pub(crate) type CallbacksOf = (&'static str, Option<&'static str>);

/// How far an object's callbacks have come; anything out of turn panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Unpatched,
    Prepared,
    Patched,
    Leaving,
}

/// The part of a hook that the callback sees.
pub(crate) struct HookState {
    pub(crate) site: Addr,
    pub(crate) redirect: FuncRedirect,
    armed: Cell<bool>,
}

/// A task that sleeps.
pub(crate) struct Task {
    pub(crate) pid: i32,
    pub(crate) stack: Vec<u64>,
}

type Watcher = Box<dyn Fn()>;

#[derive(Default)]
struct State {
    functions: RefCell<Vec<Function>>,
    next_module: Cell<u64>,
    live: RefCell<Vec<&'static str>>,
    armed: RefCell<Vec<Rc<HookState>>>,
    hooks: Cell<u32>,
    ipmodify_users: RefCell<Vec<Addr>>,
    tasks: RefCell<Vec<Task>>,
    slots: RefCell<Option<Rc<[Slot]>>>,
    now: Cell<u64>,
    turns: RefCell<BTreeMap<CallbacksOf, Turn>>,
    events: RefCell<Vec<(CallbacksOf, Callback)>>,
    log: RefCell<Vec<(Level, String)>>,
    watcher: RefCell<Option<Watcher>>,
    powered_off: Cell<bool>,
}

/// The kernel. Clones are the same kernel.
#[derive(Clone, Default)]
pub(crate) struct Sim<const STUB: bool>(Rc<State>);

impl<const STUB: bool> Sim<STUB> {
    /// Defines a function behind the last one of vmlinux, or of a module, and returns its address.
    pub(crate) fn define(&self, object: Option<&'static str>, name: &'static str, entry: Entry) -> Addr {
        let mut functions = self.0.functions.borrow_mut();
        let base = if object.is_none() { VMLINUX } else { MODULES + self.0.next_module.get() };
        let addr = base + SPACING * functions.iter().filter(|f| f.object == object).count() as u64;
        let location = match entry {
            Entry::NoSite => None,
            Entry::Site | Entry::Garbage | Entry::Unreadable => Some(addr),
            Entry::PadThenSite => Some(addr + INSN),
            Entry::FarSite(distance) => Some(addr + distance),
        };
        let code = match entry {
            Entry::Unreadable => Vec::new(),
            Entry::Garbage => [RET, RET].concat(),
            Entry::PadThenSite => [PAD, NOP].concat(),
            _ => [NOP, RET].concat(),
        };
        functions.push(Function { object, name, addr, location, code });
        addr
    }

    /// Defines another symbol for a function.
    pub(crate) fn alias(&self, name: &'static str, addr: Addr) {
        let mut function = self.function_at(addr);
        function.name = name;
        self.0.functions.borrow_mut().push(function);
    }

    /// Loads a module's text, at an address where none was before. Its state is still `COMING`.
    pub(crate) fn map_module(&self, module: &'static str, functions: &[&'static str]) {
        self.0.next_module.set(self.0.next_module.get() + 0x1000);
        for name in functions {
            self.define(Some(module), name, Entry::Site);
        }
    }

    /// Makes a mapped module live, or takes that back.
    pub(crate) fn set_live(&self, module: &'static str, live: bool) {
        self.0.live.borrow_mut().retain(|name| *name != module);
        if live {
            self.0.live.borrow_mut().push(module);
        }
    }

    /// Unmaps a module that was refused; the next one may get its place.
    pub(crate) fn refuse_module(&self, module: &'static str) {
        self.unmap_module(module);
        self.0.next_module.set(self.0.next_module.get() - 0x1000);
    }

    /// Frees a module's text, which nothing may be hooked in any more.
    pub(crate) fn unmap_module(&self, module: &'static str) {
        self.set_live(module, false);
        for function in self.0.functions.borrow().iter().filter(|f| f.object == Some(module)) {
            let hooked = self.0.armed.borrow().iter().any(|hook| Some(hook.site) == function.location);
            assert!(!hooked, "the text of {module} is freed while '{}' is hooked", function.name);
        }
        self.0.functions.borrow_mut().retain(|f| f.object != Some(module));
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        self.0.functions.borrow().clone()
    }

    /// The function that starts at `addr`.
    pub(crate) fn function_at(&self, addr: Addr) -> Function {
        let functions = self.0.functions.borrow();
        functions
            .iter()
            .find(|f| f.addr == addr)
            .cloned()
            .unwrap_or_else(|| panic!("no function at {addr:#x}"))
    }

    /// The hooks whose callbacks run at a site.
    pub(crate) fn hooks_at(&self, site: Addr) -> Vec<Rc<HookState>> {
        self.0.armed.borrow().iter().filter(|hook| hook.site == site).cloned().collect()
    }

    /// All sites that are hooked, by address.
    pub(crate) fn hooked_sites(&self) -> Vec<Addr> {
        let mut sites: Vec<Addr> = self.0.armed.borrow().iter().map(|hook| hook.site).collect();
        sites.sort_unstable();
        sites
    }

    /// How many hooks exist, armed or not.
    pub(crate) fn hooks(&self) -> u32 {
        self.0.hooks.get()
    }

    /// Makes somebody else change the resume address at a site, until [`release`](Self::release).
    pub(crate) fn occupy(&self, site: Addr) {
        self.0.ipmodify_users.borrow_mut().push(site);
    }

    pub(crate) fn release(&self, site: Addr) {
        self.0.ipmodify_users.borrow_mut().retain(|user| *user != site);
    }

    /// Makes a task that sleeps with these words on its stack.
    pub(crate) fn spawn(&self, pid: i32, stack: &[u64]) {
        self.0.tasks.borrow_mut().push(Task { pid, stack: stack.to_vec() });
    }

    /// The universe that callbacks see a task in.
    pub(crate) fn universe_of(&self, task: Addr) -> Universe {
        let slots = self.0.slots.borrow();
        Universes::new(slots.as_deref().unwrap_or_default()).of(task)
    }

    pub(crate) fn kill(&self, pid: i32) {
        self.0.tasks.borrow_mut().retain(|task| task.pid != pid);
    }

    /// How far all callbacks have come that ever ran.
    /// The callbacks of a patch that was replaced: they were ignored, and it starts anew should it be enabled again.
    pub(crate) fn forget_replaced(&self, patch: &str) {
        self.0.turns.borrow_mut().retain(|of, turn| {
            assert!(of.0 != patch || matches!(turn, Turn::Patched | Turn::Unpatched), "{of:?} is {turn:?}");
            of.0 != patch
        });
    }

    pub(crate) fn turns(&self) -> BTreeMap<CallbacksOf, Turn> {
        let turns = self.0.turns.borrow();
        turns.iter().filter(|(_, turn)| **turn != Turn::Unpatched).map(|(of, turn)| (*of, *turn)).collect()
    }

    /// The callbacks that ran since this was last asked.
    pub(crate) fn take_events(&self) -> Vec<(CallbacksOf, Callback)> {
        self.0.events.take()
    }

    /// The log since this was last asked.
    pub(crate) fn take_log(&self) -> Vec<(Level, String)> {
        self.0.log.take()
    }

    /// Has `watcher` called whenever the engine calls ftrace or a callback, and at no other time.
    pub(crate) fn watch(&self, watcher: impl Fn() + 'static) {
        *self.0.watcher.borrow_mut() = Some(Box::new(watcher));
    }

    pub(crate) fn stop_watching(&self) {
        *self.0.watcher.borrow_mut() = None;
    }

    /// From here on hooks may be dropped while they are armed: the test is over.
    pub(crate) fn power_off(&self) {
        self.0.powered_off.set(true);
        self.stop_watching();
    }

    fn notify_watcher(&self) {
        if let Some(watcher) = &*self.0.watcher.borrow() {
            watcher();
        }
    }

    fn write_site(&self, site: Addr, insn: &[u8]) {
        for function in self.0.functions.borrow_mut().iter_mut().filter(|f| f.location == Some(site)) {
            let offset = usize::try_from(site - function.addr).expect("a site inside the function");
            function.code[offset..offset + insn.len()].copy_from_slice(insn);
        }
    }
}

/// A hook.
pub(crate) struct SimHook<const STUB: bool> {
    kernel: Sim<STUB>,
    state: Rc<HookState>,
}

impl<const STUB: bool> Hook for SimHook<STUB> {
    fn redirect(&self) -> &FuncRedirect {
        &self.state.redirect
    }

    fn arm(&mut self) -> Result<(), Errno> {
        let site = self.state.site;
        self.kernel.notify_watcher();
        assert!(!self.state.armed.get(), "armed twice");
        if fault::due(Fault::Arm) {
            return Err(Errno::ENOMEM);
        }
        if !self.kernel.functions().iter().any(|f| f.location == Some(site)) {
            return Err(Errno::EINVAL);
        }
        if self.kernel.0.ipmodify_users.borrow().contains(&site) || !self.kernel.hooks_at(site).is_empty() {
            return Err(Errno::EBUSY);
        }
        let call = Toy::<STUB>::encode(BranchKind::Call, site, TRAMPOLINE).expect("text is within reach");
        self.kernel.write_site(site, call.as_bytes());
        self.state.armed.set(true);
        self.kernel.0.armed.borrow_mut().push(Rc::clone(&self.state));
        self.kernel.notify_watcher();
        Ok(())
    }

    fn disarm(&mut self) {
        if !self.state.armed.replace(false) {
            return;
        }
        self.kernel.notify_watcher();
        self.kernel.write_site(self.state.site, &NOP);
        self.kernel.0.armed.borrow_mut().retain(|hook| !Rc::ptr_eq(hook, &self.state));
        self.kernel.notify_watcher();
    }
}

impl<const STUB: bool> Drop for SimHook<STUB> {
    fn drop(&mut self) {
        let State { hooks, powered_off, .. } = &*self.kernel.0;
        hooks.set(hooks.get() - 1);
        let may_be_armed = powered_off.get() || std::thread::panicking();
        assert!(may_be_armed || !self.state.armed.get(), "a hook is freed while it is armed");
    }
}

impl<const STUB: bool> Platform for Sim<STUB> {
    type Arch = Toy<STUB>;
    type Name = &'static str;
    type List<T> = SimList<T>;
    type Hook = SimHook<STUB>;
    type Callbacks = CallbacksOf;
    type Slots = Rc<[Slot]>;

    fn is_loaded(&self, object: &'static str) -> bool {
        self.0.live.borrow().contains(&object)
    }

    fn for_each_symbol(
        &self,
        object: Option<&'static str>,
        name: &'static str,
        found: &mut dyn FnMut(Addr) -> bool,
    ) {
        let functions = self.functions();
        let mut symbols = functions.iter().filter(|f| f.object == object && f.name == name);
        let _ = symbols.all(|function| found(function.addr));
    }

    fn ftrace_location(&self, function: Addr) -> Option<Addr> {
        self.function_at(function).location
    }

    fn read_text(&self, addr: Addr, code: &mut [u8]) -> bool {
        let text = self.function_at(addr).code;
        let Some(text) = text.get(..code.len()) else { return false };
        code.copy_from_slice(text);
        true
    }

    fn has_probe(&self, _site: Addr) -> bool {
        false
    }

    fn new_hook(&self, site: Addr) -> Result<SimHook<STUB>, NoMemory> {
        if fault::due(Fault::Allocation) {
            return Err(NoMemory);
        }
        self.0.hooks.set(self.0.hooks.get() + 1);
        let state = Rc::new(HookState { site, redirect: FuncRedirect::default(), armed: Cell::new(false) });
        Ok(SimHook { kernel: self.clone(), state })
    }

    fn each_part(
        &self,
        _: Option<&'static str>,
        _: &'static str,
        function: Addr,
        found: &mut dyn FnMut(Range),
    ) {
        found(Range { start: function, size: SPACING });
    }

    fn is_own(&self, object: &'static str) -> bool {
        object == "klp"
    }

    fn now_ms(&self) -> u64 {
        self.0.now.get()
    }

    fn signal_after_ms(&self) -> u64 {
        15_000
    }

    fn stop_machine(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn task_count(&self) -> usize {
        self.0.tasks.borrow().len()
    }

    fn each_task(&self, each: &mut dyn FnMut(TaskId) -> bool) {
        let _ = self.0.tasks.borrow().iter().all(|task| each(TaskId(task.pid.unsigned_abs().into())));
    }

    fn pin(&self, _: TaskId) {}

    fn unpin(&self, _: TaskId) {}

    fn check(
        &self,
        task: TaskId,
        code: Code<'_>,
        leave: Leave,
        switch: &mut dyn FnMut(),
    ) -> Result<(), Hold> {
        self.check_stopped(task, code, leave)?;
        switch();
        Ok(())
    }

    fn check_stopped(&self, id: TaskId, code: Code<'_>, _: Leave) -> Result<(), Hold> {
        let tasks = self.0.tasks.borrow();
        let task = tasks.iter().find(|task| u64::from(task.pid.unsigned_abs()) == id.0);
        let frames = task
            .into_iter()
            .flat_map(|task| &task.stack)
            .map(|pc| Frame { cursor: Cursor { pc: *pc, sp: 0, fp: 0, exact: false }, found: Found::Chain });
        frames.filter_map(|frame| code.held_at(&frame)).next().map_or(Ok(()), |pc| Err(Hold::Code(pc)))
    }

    fn wake(&self, _: TaskId) {}

    fn ask_to_leave(&self, _: TaskId) -> Result<(), NoMemory> {
        Ok(())
    }

    fn ask_no_more(&self, _: TaskId) {}

    fn gather(&self, _: bool) {}

    fn new_slots(&self, count: usize) -> Result<Rc<[Slot]>, NoMemory> {
        if fault::due(Fault::Allocation) {
            return Err(NoMemory);
        }
        Ok((0..count).map(|_| Slot::default()).collect())
    }

    fn show_universes(&self, slots: Option<&Rc<[Slot]>>) {
        *self.0.slots.borrow_mut() = slots.cloned();
    }

    fn callback(&self, of: CallbacksOf, which: Callback) -> Result<(), Errno> {
        self.notify_watcher();
        self.0.events.borrow_mut().push((of, which));
        if which == Callback::PrePatch && fault::due(Fault::PrePatch) {
            return Err(Errno::ENOENT);
        }
        let mut turns = self.0.turns.borrow_mut();
        let turn = turns.entry(of).or_insert(Turn::Unpatched);
        *turn = match (*turn, which) {
            (Turn::Unpatched, Callback::PrePatch) => Turn::Prepared,
            // From leaving: unpatching that was turned around.
            (Turn::Prepared | Turn::Leaving, Callback::PostPatch) => Turn::Patched,
            (Turn::Patched, Callback::PreUnpatch) => Turn::Leaving,
            (Turn::Prepared | Turn::Leaving, Callback::PostUnpatch) => Turn::Unpatched,
            (turn, which) => panic!("callback {which:?} of {of:?}, which is {turn:?}"),
        };
        Ok(())
    }

    fn find_holder(&self, text: &[Range]) -> Option<Holder> {
        let tasks = self.0.tasks.borrow();
        tasks.iter().find_map(|task| {
            let held = |word: &&u64| text.iter().any(|range| range.holds_pc(**word));
            let addr = *task.stack.iter().find(held)?;
            Some(Holder { pid: task.pid, comm: *b"sleeper\0\0\0\0\0\0\0\0\0", addr })
        })
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.0.log.borrow_mut().push((level, line.to_string()));
    }
}
