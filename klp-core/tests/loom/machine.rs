// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A machine with a few CPUs on which the engine runs: [`Platform`] over the model checker.
//!
//! What orders memory here does so in the kernel, and no more strongly than it does there:
//!
//! | here | in the kernel |
//! |---|---|
//! | [`Cpu::preemption`], while preemption is off | nothing but the CPU's own program order |
//! | the same, taken for all CPUs to stop the machine | each CPU's stopper runs in place of what was preempted: `multi_cpu_stop` (`kernel/stop_machine.c`), whose `ack_state` is a full barrier, on the way in; the release and the acquire of `done` in `klp_stopped` (`kmod/shim/tasks.c`) on the way out |
//! | the same, taken for one CPU after the other to synchronise | weaker than `klp.ko`, which stops the machine for it: `schedule_on_each_cpu` would do |
//! | [`Cpu::nmi`], during an NMI | program order: the stopper does not go on before the NMI has returned. NMIs come while the machine is stopped, too |
//! | [`Task::held`], to come to a CPU, to leave it, and to look at a task | `task_call_func` (`kernel/sched/core.c`): `pi_lock` and, unless the task is blocked, the run queue's lock. `__schedule` takes the latter, `try_to_wake_up` the former; of a task that is blocked, `on_cpu` is acquired, which `finish_task` released |
//! | [`Task::asked`], relaxed | `task_work_add`, `task_work_run`: full barriers |
//! | [`State::gathering`], relaxed; [`State::rounds`], acquired and released | `klp_gathering`, `klp_rounds` (`kmod/shim/leave.c`): `smp_rmb`, `smp_wmb` |
//!
//! Memory that only these protect is a tracked cell: the checker refutes a model in which they do not.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use klp_core::Addr;
use klp_core::engine::code::Code;
use klp_core::ftrace::PatchSite;
use klp_core::patch::Leave;
use klp_core::patchable::Room;
use klp_core::platform::{Callback, Errno, Hold, Holder, Hook, Level, NoMemory, Platform, Range, TaskId};
use klp_core::redirect::FuncRedirect;
use klp_core::universe::{Shown, Slot, Universes};
use loom::cell::Cell as Tracked;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex, MutexGuard};

use crate::arch::{NOP, RET, Toy};
use crate::list::SimList;
use crate::task::{Task, Version, saw};

/// The functions that patches replace.
pub(crate) const FUNCTIONS: [(&str, Addr); 2] = [("f", 0x10_0000), ("g", 0x10_0100)];
/// Size of a function.
pub(crate) const FUNCTION: u64 = 0x40;

/// What is done wrong, so that a model is seen to refute it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// The machine runs on while it should be stopped.
    StopsNothing,
    /// It does so while tasks are listed.
    ListsWithoutStop,
    /// Nobody waits for callbacks to be over.
    SynchronisesNothing,
    /// Nobody waits for the tasks that are about to say that they wait at the border, before they are let go.
    ScattersAtOnce,
    /// Callbacks run with preemption on.
    Preemptible,
    /// A task is checked, and switched, while it goes on.
    HoldsNothing,
    /// A task is switched whatever is on its stack.
    IgnoresStacks,
    /// A walk goes through ftrace's trampoline, and does not see where that leads.
    WalksTrampolines,
    /// A task is said to be switched, and is not.
    SwitchesNobody,
    /// Tasks that were born since are not listed when a transition is reversed.
    ForgetsTheBorn,
    /// A table's size is shown after the table.
    ShowsInTwoSteps,
    /// A task that is asked to leave the kernel does what it should do then wherever it is.
    LeavesAnywhere,
    /// A task says that it waits at the border, and goes on.
    WaitsNot,
}

/// A CPU. One task runs on it.
#[derive(Default)]
pub(crate) struct Cpu {
    preemption: Mutex<()>,
    nmi: Mutex<()>,
}

impl Cpu {
    /// Preemption is off as long as the guard exists.
    pub(crate) fn preempt_disable(&self) -> MutexGuard<'_, ()> {
        lock(&self.preemption)
    }

    /// An NMI is handled as long as the guard exists.
    pub(crate) fn nmi_enter(&self) -> MutexGuard<'_, ()> {
        lock(&self.nmi)
    }
}

/// Takes a lock that knows no poison.
pub(crate) fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether some memory was freed.
#[derive(Default)]
pub(crate) struct Freed(Tracked<bool>);

impl Freed {
    pub(crate) fn free(&self) {
        // A model that has failed is taken down outside of it.
        if !std::thread::panicking() {
            self.0.set(true);
        }
    }

    pub(crate) fn assert_not(&self, what: &str) {
        assert!(!self.0.get(), "{what} is used after it was freed");
    }
}

/// A table of universes.
struct Table {
    slots: Vec<Slot>,
    freed: Freed,
}

/// What the engine has of it.
pub(crate) struct Slots(Rc<Table>);

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        &self.0.slots
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.0.freed.free();
    }
}

/// The part of a hook that callbacks see.
#[derive(Default)]
pub(crate) struct Hooked {
    pub(crate) redirect: FuncRedirect,
    pub(crate) freed: Freed,
}

/// A hook.
pub(crate) struct ModelHook {
    machine: Machine,
    function: usize,
    hooked: Rc<Hooked>,
}

impl Hook for ModelHook {
    fn redirect(&self) -> &FuncRedirect {
        &self.hooked.redirect
    }

    /// When a CPU sees it does not matter: a hook without a target passes calls through.
    fn arm(&mut self) -> Result<(), Errno> {
        self.machine.hooks.borrow_mut().push(Rc::clone(&self.hooked));
        let nth = self.machine.hooks.borrow().len();
        self.machine.sites[self.function].store(nth, Ordering::Release);
        Ok(())
    }

    /// `ftrace_shutdown` in `kernel/trace/ftrace.c` waits for each CPU to schedule.
    fn disarm(&mut self) {
        if !std::thread::panicking() && self.machine.sites[self.function].swap(0, Ordering::Relaxed) != 0 {
            self.machine.schedule_on_each_cpu();
        }
    }
}

impl Drop for ModelHook {
    fn drop(&mut self) {
        self.disarm();
        self.hooked.freed.free();
    }
}

/// The text and the data of a patch.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) initialised: Tracked<bool>,
    pub(crate) freed: Freed,
}

/// What a machine consists of.
pub(crate) struct State {
    pub(crate) wrong: Wrong,
    pub(crate) cpus: Vec<Cpu>,
    /// Changes with preemption off on some CPU, and is read with the machine stopped.
    tasks: RefCell<Vec<Rc<Task>>>,
    /// How many there were when the first transition began.
    counted: Cell<usize>,
    /// All hooks there ever were.
    hooks: RefCell<Vec<Rc<Hooked>>>,
    /// Which of them the functions' sites lead to, from 1; 0: none.
    sites: [AtomicUsize; FUNCTIONS.len()],
    shown: Shown,
    /// With [`Wrong::ShowsInTwoSteps`], the size of the table that is shown.
    size: AtomicUsize,
    tables: RefCell<Vec<Rc<Table>>>,
    /// Those that leave the kernel wait.
    gathering: AtomicBool,
    /// How often they were let go.
    rounds: AtomicUsize,
    /// The queue of those that wait at the border.
    gathered: (Mutex<()>, Condvar),
    /// They were let go last.
    scattering: Cell<bool>,
    pub(crate) modules: Vec<Module>,
    /// Milliseconds from one look at the clock to the next.
    pub(crate) tick: Cell<u64>,
    now: Cell<u64>,
    /// The newest version that a call went to, if no later call may go to an older one.
    pub(crate) newest: Cell<Option<Version>>,
}

/// The machine. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Machine(Rc<State>);

impl Deref for Machine {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Machine {
    /// With so many CPUs, and so many patches in memory.
    pub(crate) fn new(cpus: usize, patches: usize, wrong: Wrong) -> Machine {
        Machine(Rc::new(State {
            wrong,
            cpus: (0..cpus).map(|_| Cpu::default()).collect(),
            tasks: RefCell::default(),
            counted: Cell::new(cpus),
            hooks: RefCell::default(),
            sites: Default::default(),
            shown: Shown::default(),
            size: AtomicUsize::new(0),
            tables: RefCell::default(),
            gathering: AtomicBool::new(false),
            rounds: AtomicUsize::new(0),
            gathered: (Mutex::new(()), Condvar::new()),
            scattering: Cell::new(false),
            modules: (0..patches).map(|_| Module::default()).collect(),
            tick: Cell::new(0),
            now: Cell::new(0),
            newest: Cell::new(None),
        }))
    }

    /// Puts a task into the list. Preemption is off, or nothing runs yet.
    pub(crate) fn add_task(&self, task: Rc<Task>) {
        self.tasks.borrow_mut().push(task);
    }

    fn tasks(&self) -> Vec<Rc<Task>> {
        self.tasks.borrow().clone()
    }

    fn task(&self, id: TaskId) -> Rc<Task> {
        self.tasks.borrow().iter().find(|task| task.addr == id.0).cloned().expect("a task that exists")
    }

    /// The hook of a function, if it has one.
    pub(crate) fn hooked(&self, function: usize) -> Option<Rc<Hooked>> {
        let nth = self.sites[function].load(Ordering::Acquire).checked_sub(1)?;
        Some(Rc::clone(&self.hooks.borrow()[nth]))
    }

    /// Looks at the table that is shown, as `kmod/src/universe.rs` does.
    pub(crate) fn with_universes<R>(&self, look: impl FnOnce(Universes<'_>) -> R) -> R {
        let size = self.size.load(Ordering::Acquire);
        let first = self.shown.first();
        let table = self.tables.borrow().iter().find(|table| table.slots.as_ptr() == first).cloned();
        let Some(table) = table else {
            assert!(first.is_null(), "what is shown is a table");
            return look(Universes::new(&[]));
        };
        let size = match self.wrong {
            Wrong::ShowsInTwoSteps => size,
            _ => table.slots[0].table_len(),
        };
        let result = look(Universes::new(&table.slots[..size]));
        table.freed.assert_not("a table of universes");
        result
    }

    pub(crate) fn round(&self) -> usize {
        self.rounds.load(Ordering::Acquire)
    }

    pub(crate) fn is_gathering(&self) -> bool {
        self.gathering.load(Ordering::Relaxed)
    }

    /// As `wait_event` in `kmod/shim/leave.c`.
    pub(crate) fn wait_at_border(&self, round: usize) {
        if self.round() == round {
            let mut queue = lock(&self.gathered.0);
            while self.round() == round {
                queue = self.gathered.1.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        }
    }

    /// Every CPU is seen with preemption on, one after the other.
    fn schedule_on_each_cpu(&self) {
        for cpu in &self.cpus {
            drop(cpu.preempt_disable());
            drop(cpu.nmi_enter());
        }
    }

    /// NMIs that came before every CPU got here are over.
    fn nmis_return(&self) {
        self.cpus.iter().for_each(|cpu| drop(cpu.nmi_enter()));
    }

    /// As `has_left` in `kmod/src/tasks.rs`. The stack of a task that runs cannot be looked at.
    fn has_left(&self, task: &Task, runs: bool, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
        if !runs && task.stack.get().exited {
            return Ok(());
        }
        if leave == Leave::Kernel && task.is_user {
            return Err(Hold::InKernel);
        }
        match self.wrong {
            _ if runs => Err(Hold::Running),
            Wrong::IgnoresStacks => Ok(()),
            wrong => task.stack.get().check(code, wrong == Wrong::WalksTrampolines),
        }
    }
}

impl Platform for Machine {
    type Arch = Toy<false>;
    type Name = &'static str;
    type List<T> = SimList<T>;
    type Hook = ModelHook;
    /// The patch.
    type Callbacks = usize;
    type Slots = Slots;

    fn is_loaded(&self, _: &'static str) -> bool {
        true
    }

    fn for_each_symbol(
        &self,
        _: Option<&'static str>,
        name: &'static str,
        found: &mut dyn FnMut(Addr) -> bool,
    ) {
        let mut functions = FUNCTIONS.iter().filter(|function| function.0 == name);
        let _ = functions.all(|function| found(function.1));
    }

    fn ftrace_location(&self, function: Addr) -> Option<Addr> {
        Some(function)
    }

    fn has_probe(&self, _: Addr) -> bool {
        false
    }

    fn read_text(&self, _: Addr, code: &mut [u8]) -> bool {
        code.copy_from_slice(&[NOP, RET].concat());
        true
    }

    fn new_hook(&self, site: PatchSite, _room: Option<Room>) -> Result<ModelHook, NoMemory> {
        let function = FUNCTIONS.iter().position(|function| function.1 == site.site).expect("a site");
        Ok(ModelHook { machine: self.clone(), function, hooked: Rc::default() })
    }

    fn callback(&self, patch: usize, which: Callback) -> Result<(), Errno> {
        if which == Callback::PrePatch {
            self.modules[patch].initialised.set(true);
        }
        Ok(())
    }

    fn each_part(
        &self,
        _: Option<&'static str>,
        _: &'static str,
        function: Addr,
        found: &mut dyn FnMut(Range),
    ) {
        found(Range { start: function, size: FUNCTION });
    }

    fn is_own(&self, _: &'static str) -> bool {
        false
    }

    fn now_ms(&self) -> u64 {
        self.now.replace(self.now.get() + self.tick.get())
    }

    fn signal_after_ms(&self) -> u64 {
        u64::MAX / 2
    }

    fn stop_machine(&self, work: &mut dyn FnMut()) {
        if matches!(self.wrong, Wrong::StopsNothing | Wrong::ListsWithoutStop) {
            return work();
        }
        let stopped: Vec<_> = self.cpus.iter().map(Cpu::preempt_disable).collect();
        self.nmis_return();
        work();
        self.nmis_return();
        drop(stopped);
    }

    fn synchronise(&self) {
        let skipped = match self.wrong {
            Wrong::SynchronisesNothing => true,
            Wrong::ScattersAtOnce => self.scattering.take(),
            _ => false,
        };
        if !skipped {
            self.schedule_on_each_cpu();
        }
    }

    fn task_count(&self) -> usize {
        self.counted.get()
    }

    fn each_task(&self, each: &mut dyn FnMut(TaskId) -> bool) {
        let forgotten = |task: &Rc<Task>| self.wrong == Wrong::ForgetsTheBorn && task.is_child;
        let _ = self.tasks().iter().filter(|task| !forgotten(task)).all(|task| each(TaskId(task.addr)));
    }

    fn pin(&self, _: TaskId) {}

    fn unpin(&self, _: TaskId) {}

    fn check(&self, id: TaskId, code: Code<'_>, leave: Leave, switch: &mut dyn FnMut()) -> Result<(), Hold> {
        let task = self.task(id);
        let held = task.hold();
        self.has_left(&task, task.on_cpu.get(), code, leave)?;
        match self.wrong {
            Wrong::SwitchesNobody => {}
            Wrong::HoldsNothing => {
                drop(held);
                switch();
            }
            _ => switch(),
        }
        saw("is switched while it is held");
        Ok(())
    }

    fn check_stopped(&self, id: TaskId, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
        // Nobody can say while it runs.
        let runs = self.wrong == Wrong::ListsWithoutStop;
        self.has_left(&self.task(id), runs, code, leave)?;
        saw("is switched with the machine stopped");
        Ok(())
    }

    fn wake(&self, _: TaskId) {}

    fn ask_to_leave(&self, task: TaskId) -> Result<(), NoMemory> {
        self.task(task).asked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn ask_no_more(&self, task: TaskId) {
        self.task(task).asked.store(false, Ordering::Relaxed);
    }

    fn gather(&self, wait: bool) {
        self.gathering.store(wait, Ordering::Relaxed);
        self.scattering.set(!wait);
        if !wait {
            self.rounds.store(self.rounds.load(Ordering::Relaxed) + 1, Ordering::Release);
            let _queue = lock(&self.gathered.0);
            self.gathered.1.notify_all();
        }
    }

    fn new_slots(&self, count: usize) -> Result<Slots, NoMemory> {
        let slots = (0..count).map(|_| Slot::default()).collect();
        let table = Rc::new(Table { slots, freed: Freed::default() });
        self.tables.borrow_mut().push(Rc::clone(&table));
        Ok(Slots(table))
    }

    fn show_universes(&self, slots: Option<&Slots>) {
        let slots = slots.map_or(&[][..], |slots| slots);
        self.shown.show(slots);
        if self.wrong == Wrong::ShowsInTwoSteps {
            self.size.store(slots.len(), Ordering::Release);
        }
    }

    fn find_holder(&self, text: &[Range]) -> Option<Holder> {
        let mut holder = None;
        self.stop_machine(&mut || {
            let tasks = self.tasks();
            let mut words = tasks.iter().flat_map(|task| task.stack.get().words());
            let held = words.find(|word| text.iter().any(|text| text.holds_pc(*word)));
            holder = held.map(|addr| Holder { pid: 0, comm: [0; 16], addr });
        });
        holder
    }

    fn log(&self, _: Level, _: fmt::Arguments<'_>) {}
}
