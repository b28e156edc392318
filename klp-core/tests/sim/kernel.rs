// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The simulated kernel, put together: what the engine asks of a platform, and what there is of it.
//!
//! It watches as much as it serves: a callback out of turn, a hook freed while it is armed, text that goes while it is
//! hooked, a table that is freed while it is read, a task that is looked at when it may be gone end the test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};

use klp_core::Addr;
use klp_core::engine::code::Code;
use klp_core::ftrace::PatchSite;
use klp_core::patch::Leave;
use klp_core::patchable::{Declared, Room};
use klp_core::platform::{Callback, Errno, Hold, Holder, Level, NoMemory, Platform, Range, TaskId, Write};
use klp_core::universe::Slot;

use super::arch::Toy;
use super::fault::{self, Fault};
use super::flaw::Flaw;
use super::hook::{HookState, SimHook};
use super::list::SimList;
use super::patch_memory::PatchMemory;
use super::tasks::Tasks;
use super::text::{Function, ROOM};

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

/// A point at which whoever watches is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// The engine asks for something that takes time: tasks may run meanwhile.
    Any,
    /// The machine is about to stop: callbacks that are under way must end.
    CallbacksEnd,
    /// The machine is stopped, and what was to be done is done.
    Stopped,
}

/// What the engine let the world see, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Log(Level, String),
    Callback(CallbacksOf, Callback),
}

/// The function that tasks leave the kernel through.
pub(crate) const WAY_OUT: &str = "way_out";

type Watcher = Box<dyn FnMut(Point)>;

#[derive(Default)]
pub(crate) struct State {
    pub(super) functions: RefCell<Vec<Function>>,
    pub(super) next_module: Cell<u64>,
    pub(super) live: RefCell<Vec<&'static str>>,
    pub(super) initialising: Cell<Option<&'static str>>,
    pub(super) armed: RefCell<Vec<Rc<HookState>>>,
    pub(super) hooks: Cell<u32>,
    pub(super) ipmodify_users: RefCell<Vec<Addr>>,
    pub(super) direct_users: RefCell<Vec<Addr>>,
    pub(super) tasks: RefCell<Tasks>,
    /// The table that is shown. Its memory is the engine's to keep.
    pub(super) slots: RefCell<Option<Weak<[Slot]>>>,
    /// Tables that were shown, and may still be read.
    pub(super) hidden: RefCell<Vec<Weak<[Slot]>>>,
    pub(super) stopped: Cell<bool>,
    /// No function was in transition when the machine was last stopped.
    pub(super) settled: Cell<bool>,
    pub(super) powered_off: Cell<bool>,
    pub(super) patch_memory: PatchMemory,
    now: Cell<u64>,
    signal_after: Cell<Option<u64>>,
    flaw: Cell<Option<Flaw>>,
    turns: RefCell<BTreeMap<CallbacksOf, Turn>>,
    events: RefCell<Vec<Event>>,
    watcher: RefCell<Option<Watcher>>,
}

/// The kernel. Clones are the same kernel.
#[derive(Clone, Default)]
pub(crate) struct Sim<const STUB: bool>(pub(super) Rc<State>);

impl<const STUB: bool> Sim<STUB> {
    /// Breaks one of its promises from now on.
    pub(crate) fn break_promise(&self, flaw: Flaw) {
        self.0.flaw.set(Some(flaw));
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.0.flaw.get() == Some(flaw)
    }

    /// Lets some milliseconds go by.
    pub(crate) fn pass(&self, ms: u64) {
        self.0.now.set(self.0.now.get() + ms);
    }

    /// Has tasks that hold a transition up woken after so many milliseconds.
    pub(crate) fn wake_after(&self, ms: u64) {
        self.0.signal_after.set(Some(ms));
    }

    /// The callbacks of a patch that was replaced: they were ignored, and it starts anew should it be enabled again.
    pub(crate) fn forget_replaced(&self, patch: &str) {
        self.0.turns.borrow_mut().retain(|of, turn| {
            assert!(of.0 != patch || matches!(turn, Turn::Patched | Turn::Unpatched), "{of:?} is {turn:?}");
            of.0 != patch
        });
    }

    /// How far all callbacks have come that ever ran.
    pub(crate) fn turns(&self) -> BTreeMap<CallbacksOf, Turn> {
        let turns = self.0.turns.borrow();
        turns.iter().filter(|(_, turn)| **turn != Turn::Unpatched).map(|(of, turn)| (*of, *turn)).collect()
    }

    /// What was logged and called since the last of these was taken.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        self.0.events.take()
    }

    /// The callbacks that ran since events were last taken.
    pub(crate) fn take_callbacks(&self) -> Vec<(CallbacksOf, Callback)> {
        let callback = |event| match event {
            Event::Callback(of, which) => Some((of, which)),
            Event::Log(..) => None,
        };
        self.take_events().into_iter().filter_map(callback).collect()
    }

    /// The log since events were last taken.
    pub(crate) fn take_log(&self) -> Vec<(Level, String)> {
        let line = |event| match event {
            Event::Log(level, line) => Some((level, line)),
            Event::Callback(..) => None,
        };
        self.take_events().into_iter().filter_map(line).collect()
    }

    /// Has `watcher` called at every [`Point`].
    pub(crate) fn watch(&self, watcher: impl FnMut(Point) + 'static) {
        *self.0.watcher.borrow_mut() = Some(Box::new(watcher));
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.0.watcher.borrow().is_some()
    }

    pub(crate) fn stop_watching(&self) {
        *self.0.watcher.borrow_mut() = None;
    }

    /// From here on hooks may be dropped while they are armed: the test is over.
    pub(crate) fn power_off(&self) {
        self.0.powered_off.set(true);
        self.stop_watching();
    }

    pub(super) fn notify(&self, point: Point) {
        if self.0.stopped.get() && point != Point::Stopped {
            return;
        }
        if let Some(watcher) = &mut *self.0.watcher.borrow_mut() {
            watcher(point);
        }
    }

    pub(super) fn notify_watcher(&self) {
        self.notify(Point::Any);
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
        if PatchMemory::has(addr) {
            self.0.patch_memory.read(addr, code);
            return true;
        }
        self.read(addr, code)
    }

    fn declared_room(&self, object: Option<&'static str>) -> Option<Declared> {
        let has_room = |f: &Function| f.object == object && !f.room.is_empty();
        let before = u16::try_from(ROOM).expect("small");
        self.find_function(has_room).map(|_| Declared { before, after: 4 })
    }

    fn write_patch(&self, writes: &[Write]) -> Result<(), NoMemory> {
        self.notify(Point::Any);
        if fault::due(Fault::Allocation) {
            return Err(NoMemory);
        }
        writes.iter().for_each(|write| self.0.patch_memory.write(write.at, write.code.as_bytes()));
        Ok(())
    }

    fn out_of_reach(&self) -> bool {
        self.0.patch_memory.out_of_reach.get()
    }

    fn has_probe(&self, _site: Addr) -> bool {
        false
    }

    fn new_hook(&self, site: PatchSite, room: Option<Room>) -> Result<SimHook<STUB>, NoMemory> {
        SimHook::new(self, site.site, room)
    }

    fn each_part(
        &self,
        object: Option<&'static str>,
        name: &'static str,
        function: Addr,
        found: &mut dyn FnMut(Range),
    ) {
        let named = self.function_at(function);
        assert!(named.object == object, "'{name}' is a function of {object:?}");
        named.parts().for_each(found);
    }

    fn is_own(&self, object: &'static str) -> bool {
        object == "klp"
    }

    fn now_ms(&self) -> u64 {
        self.0.now.get()
    }

    fn signal_after_ms(&self) -> u64 {
        self.0.signal_after.get().unwrap_or(15_000)
    }

    fn stop_machine(&self, work: &mut dyn FnMut()) {
        self.stop(work);
    }

    fn task_count(&self) -> usize {
        self.count_tasks()
    }

    fn each_task(&self, each: &mut dyn FnMut(TaskId) -> bool) {
        self.visit(each);
    }

    fn pin(&self, task: TaskId) {
        self.pin_task(task);
    }

    fn unpin(&self, task: TaskId) {
        self.unpin_task(task);
    }

    fn check(
        &self,
        task: TaskId,
        code: Code<'_>,
        leave: Leave,
        switch: &mut dyn FnMut(),
    ) -> Result<(), Hold> {
        self.check_task(task, code, leave, switch)
    }

    fn check_stopped(&self, task: TaskId, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
        self.check_stopped_task(task, code, leave)
    }

    fn wake(&self, task: TaskId) {
        self.wake_task(task);
    }

    fn ask_to_leave(&self, task: TaskId) -> Result<(), NoMemory> {
        self.ask(task)
    }

    fn is_way_out(&self, name: &'static str) -> bool {
        name == WAY_OUT
    }

    fn ask_no_more(&self, task: TaskId) {
        self.ask_not(task);
    }

    fn gather(&self, wait: bool) {
        self.notify(Point::Any);
        self.set_gathering(wait);
    }

    fn new_slots(&self, count: usize) -> Result<Rc<[Slot]>, NoMemory> {
        self.notify(Point::Any);
        if fault::due(Fault::Allocation) {
            return Err(NoMemory);
        }
        Ok((0..count).map(|_| Slot::default()).collect())
    }

    fn show_universes(&self, slots: Option<&Rc<[Slot]>>) {
        self.notify(Point::Any);
        let stopped = self.0.stopped.get();
        assert!(stopped || !self.is_deciding(), "a table changes under the functions in transition");
        let hidden = self.0.slots.replace(slots.map(Rc::downgrade));
        // Callbacks read it if some function was in transition when they began, tasks if they were asked to leave.
        let may_be_read = !stopped && (!self.0.settled.get() || self.asked() > 0);
        self.0.hidden.borrow_mut().extend(hidden.filter(|_| may_be_read));
    }

    fn callback(&self, of: CallbacksOf, which: Callback) -> Result<(), Errno> {
        self.notify_watcher();
        self.0.events.borrow_mut().push(Event::Callback(of, which));
        if which == Callback::PrePatch && fault::due(Fault::PrePatch) {
            return Err(Errno::ENOENT);
        }
        let mut turns = self.0.turns.borrow_mut();
        let turn = turns.entry(of).or_insert(Turn::Unpatched);
        *turn = match (*turn, which) {
            (Turn::Unpatched, Callback::PrePatch) => Turn::Prepared,
            // A transition that was reversed ends so without having begun so.
            (Turn::Prepared | Turn::Leaving, Callback::PostPatch) => Turn::Patched,
            (Turn::Patched, Callback::PreUnpatch) => Turn::Leaving,
            (Turn::Prepared | Turn::Leaving, Callback::PostUnpatch) => Turn::Unpatched,
            (turn, which) => panic!("callback {which:?} of {of:?}, which is {turn:?}"),
        };
        Ok(())
    }

    fn find_holder(&self, text: &[Range]) -> Option<Holder> {
        self.holder(text)
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.0.events.borrow_mut().push(Event::Log(level, line.to_string()));
    }
}
