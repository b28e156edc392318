// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Tasks of the simulated kernel, as the engine sees them: what can be known of their stacks, and when.
//!
//! What they do is the business of whoever makes them; here is where they are.

use klp_core::Addr;
use klp_core::engine::code::Code;
use klp_core::patch::Leave;
use klp_core::platform::{Hold, Holder, NoMemory, Range, TaskId};
use klp_core::universe::{Universe, Universes};
use klp_core::unwind::{Cursor, Found, Frame, Unreliable};

use super::fault::{self, Fault};
use super::flaw::Flaw;
use super::kernel::{Point, Sim};

/// Where task structures lie, and how far from each other.
const TASKS: Addr = 0xffff_8880_0000_0000;
const TASK_SIZE: u64 = 0x2540;

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It leaves the kernel at times.
    User,
    /// It never does.
    Kthread,
    /// One CPU's idle task, which never sleeps and is in no list.
    Idle,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On a CPU.
    Running,
    /// On a CPU, in the ftrace callback: as long as it is, the machine does not stop.
    InCallback,
    /// Switched out.
    Asleep,
    /// At the border to user mode, because tasks are gathered.
    Waiting,
    /// The idle task of a CPU that is offline.
    Offline,
    /// Gone; its structure stays as long as it is pinned.
    Exited,
}

/// Where a task goes on in one of its functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pc {
    pub(crate) addr: Addr,
    /// The next instruction, rather than where a call returns to.
    pub(crate) exact: bool,
}

/// A task's structure.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) pid: i32,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    /// Where it goes on, the outermost function first.
    pub(crate) stack: Vec<Pc>,
    /// Whether its stack can be walked when it does not run.
    pub(crate) walkable: bool,
    /// Work waits for it at the border to user mode.
    asked: bool,
    /// It was woken since it fell asleep.
    pub(crate) woken: bool,
    pins: u32,
}

impl Task {
    /// Whether it was asked to leave the kernel, and has not.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked
    }
}

/// All tasks, and the places of those that are gone.
#[derive(Default)]
pub(crate) struct Tasks {
    all: Vec<Task>,
    free: Vec<TaskId>,
    places: u64,
    next_pid: i32,
    gathering: bool,
}

impl Tasks {
    fn add(&mut self, kind: Kind, pid: Option<i32>) -> TaskId {
        // The last that became free first: an address is used again as soon as it can be.
        let id = self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            TaskId(TASKS + TASK_SIZE * self.places)
        });
        self.next_pid += 1;
        let pid = pid.unwrap_or(self.next_pid);
        let task = Task {
            id,
            pid,
            kind,
            mode: Mode::Running,
            stack: Vec::new(),
            walkable: true,
            asked: false,
            woken: false,
            pins: 0,
        };
        self.all.push(task);
        id
    }

    fn get(&mut self, id: TaskId) -> &mut Task {
        let task = self.all.iter_mut().find(|task| task.id == id);
        task.unwrap_or_else(|| panic!("the task at {:#x} was freed", id.0))
    }

    fn pinned(&mut self, id: TaskId) -> &mut Task {
        let task = self.get(id);
        assert!(task.pins > 0, "task {} may be freed while the engine looks at it", task.pid);
        task
    }

    fn free_if_gone(&mut self, id: TaskId, flaw: bool) {
        let task = self.get(id);
        if task.mode == Mode::Exited && (task.pins == 0 || flaw) {
            self.all.retain(|task| task.id != id);
            self.free.push(id);
        }
    }
}

impl<const STUB: bool> Sim<STUB> {
    /// Makes a kernel thread that sleeps with these return addresses on its stack.
    pub(crate) fn spawn(&self, pid: i32, stack: &[u64]) {
        let id = self.0.tasks.borrow_mut().add(Kind::Kthread, Some(pid));
        self.change(id, |task| {
            task.mode = Mode::Asleep;
            task.stack = stack.iter().map(|&addr| Pc { addr, exact: false }).collect();
        });
    }

    pub(crate) fn kill(&self, pid: i32) {
        let alive = |task: &Task| task.pid == pid && task.mode != Mode::Exited;
        self.exit(self.find_task(alive).expect("a task with this pid"));
    }

    /// Makes a task that runs, in user mode if it can.
    pub(crate) fn fork(&self, kind: Kind) -> TaskId {
        self.0.tasks.borrow_mut().add(kind, None)
    }

    /// A task runs for the last time.
    pub(crate) fn exit(&self, id: TaskId) {
        self.change(id, |task| {
            task.mode = Mode::Exited;
            task.stack.clear();
        });
        self.0.tasks.borrow_mut().free_if_gone(id, self.has(Flaw::PinsAreIgnored));
    }

    /// Changes something about a task that exists.
    pub(crate) fn change(&self, id: TaskId, change: impl FnOnce(&mut Task)) {
        change(self.0.tasks.borrow_mut().get(id));
    }

    /// What there is to see of a task that exists.
    pub(crate) fn look_at<R>(&self, id: TaskId, look: impl FnOnce(&Task) -> R) -> R {
        look(self.0.tasks.borrow_mut().get(id))
    }

    /// The first task that is one of these.
    pub(crate) fn find_task(&self, which: impl Fn(&Task) -> bool) -> Option<TaskId> {
        self.0.tasks.borrow().all.iter().find(|task| which(task)).map(|task| task.id)
    }

    /// How many tasks there are, those that exited and are pinned too.
    pub(crate) fn count_tasks(&self) -> usize {
        self.0.tasks.borrow().all.len()
    }

    /// The pid of each task that has not exited, the universe that callbacks see it in, and how often it is pinned.
    pub(crate) fn universes(&self) -> Vec<(i32, Universe, u32)> {
        let tasks = self.0.tasks.borrow();
        let alive = tasks.all.iter().filter(|task| task.mode != Mode::Exited);
        alive.map(|task| (task.pid, self.universe_of(task.id.0), task.pins)).collect()
    }

    /// How often the structures of all tasks are pinned.
    pub(crate) fn pins(&self) -> u32 {
        self.0.tasks.borrow().all.iter().map(|task| task.pins).sum()
    }

    /// Whether a task was woken since this was last asked.
    pub(crate) fn woken(&self, id: TaskId) -> bool {
        std::mem::take(&mut self.0.tasks.borrow_mut().get(id).woken)
    }

    /// How many tasks were asked to leave the kernel and have not.
    pub(crate) fn asked(&self) -> usize {
        self.0.tasks.borrow().all.iter().filter(|task| task.asked).count()
    }

    /// Whether tasks that leave the kernel wait at the border.
    pub(crate) fn is_gathering(&self) -> bool {
        self.0.tasks.borrow().gathering
    }

    /// The universe that callbacks see a task in.
    pub(crate) fn universe_of(&self, task: Addr) -> Universe {
        self.with_universes(|universes| match () {
            () if self.has(Flaw::SlotsAreIgnored) => universes.born(),
            () if self.has(Flaw::BornIsUnpatched) && !universes.is_listed(task) => Universe::Unpatched,
            () => universes.of(task),
        })
    }

    /// The universe of a task that the engine has never seen.
    pub(crate) fn universe_of_unlisted(&self) -> Universe {
        self.with_universes(|universes| universes.born())
    }

    /// Whether callbacks have a table to look at.
    pub(crate) fn shows_universes(&self) -> bool {
        self.0.slots.borrow().is_some()
    }

    fn with_universes<R>(&self, look: impl FnOnce(Universes<'_>) -> R) -> R {
        let shown = self.0.slots.borrow();
        let slots = shown
            .as_ref()
            .map(|slots| slots.upgrade().expect("the table that is shown was freed, and is read"));
        look(Universes::new(slots.as_deref().unwrap_or_default()))
    }

    /// A user task is about to leave the kernel. What it was asked to do there: as `klp_leaves` in `kmod/shim/leave.c`.
    pub(crate) fn at_border(&self, id: TaskId) {
        let waits = {
            let mut tasks = self.0.tasks.borrow_mut();
            let waits = tasks.gathering;
            let task = tasks.get(id);
            if !std::mem::take(&mut task.asked) {
                return;
            }
            if waits && !self.has(Flaw::NobodyWaits) {
                task.mode = Mode::Waiting;
            }
            waits
        };
        self.with_universes(|universes| {
            let Some(listed) = universes.listed(id.0) else { return };
            listed.left();
            if waits {
                listed.set_waiting(true);
            } else {
                listed.switch(universes.born());
            }
        });
    }

    /// Waits until no task is in a callback.
    pub(super) fn end_callbacks(&self) {
        self.notify(Point::CallbacksEnd);
        let tasks = self.0.tasks.borrow();
        assert!(!tasks.all.iter().any(|task| task.mode == Mode::InCallback), "a callback never ends");
    }

    /// As `Platform::stop_machine`.
    pub(super) fn stop(&self, work: &mut dyn FnMut()) {
        self.notify(Point::Any);
        assert!(!self.0.stopped.get(), "the machine is stopped twice");
        if !self.has(Flaw::CallbacksGoOn) {
            self.end_callbacks();
        }
        self.0.stopped.set(true);
        let readable = self.0.hidden.borrow().iter().all(|slots| slots.strong_count() > 0);
        assert!(readable, "a table was freed while a callback may have read it");
        work();
        self.notify(Point::Stopped);
        self.0.stopped.set(false);
        self.0.settled.set(!self.is_deciding());
        // Whoever might have read these is done.
        self.0.hidden.borrow_mut().clear();
        self.notify(Point::Any);
    }

    fn assert_stopped(&self) {
        assert!(self.0.stopped.get(), "only with the machine stopped");
    }

    pub(super) fn visit(&self, each: &mut dyn FnMut(TaskId) -> bool) {
        self.assert_stopped();
        let seen = |task: &&Task| {
            task.mode != Mode::Exited && !(task.kind == Kind::Idle && self.has(Flaw::IdleTasksAreMissed))
        };
        let ids: Vec<TaskId> = self.0.tasks.borrow().all.iter().filter(seen).map(|task| task.id).collect();
        let _ = ids.into_iter().all(each);
    }

    pub(super) fn pin_task(&self, id: TaskId) {
        self.assert_stopped();
        self.change(id, |task| task.pins += 1);
    }

    pub(super) fn unpin_task(&self, id: TaskId) {
        let mut tasks = self.0.tasks.borrow_mut();
        tasks.pinned(id).pins -= 1;
        tasks.free_if_gone(id, false);
    }

    /// As `Platform::check`.
    pub(super) fn check_task(
        &self,
        id: TaskId,
        code: Code<'_>,
        leave: Leave,
        switch: &mut dyn FnMut(),
    ) -> Result<(), Hold> {
        self.notify(Point::Any);
        let task = self.0.tasks.borrow_mut().pinned(id).clone();
        let runs = matches!(task.mode, Mode::Running | Mode::InCallback | Mode::Offline);
        // A user task that must leave the kernel has not, whether it runs or not.
        let in_kernel = leave == Leave::Kernel && task.kind == Kind::User;
        if runs && !in_kernel && !self.has(Flaw::RunningTasksAreClear) {
            return Err(Hold::Running);
        }
        self.look(&task, code, leave)?;
        switch();
        Ok(())
    }

    /// As `Platform::check_stopped`.
    pub(super) fn check_stopped_task(&self, id: TaskId, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
        self.assert_stopped();
        self.look_at(id, |task| self.look(task, code, leave))
    }

    /// Whether a task that is held still may be switched: as `has_left` in `kmod/src/tasks.rs`.
    fn look(&self, task: &Task, code: Code<'_>, leave: Leave) -> Result<(), Hold> {
        if matches!(task.mode, Mode::Exited | Mode::Offline) {
            return Ok(());
        }
        if leave == Leave::Kernel && task.kind == Kind::User && !self.has(Flaw::UserTasksAreAtTheBorder) {
            return Err(Hold::InKernel);
        }
        if self.has(Flaw::EveryTaskIsClear) || !task.walkable && self.has(Flaw::EveryWalkIsReliable) {
            return Ok(());
        }
        if !task.walkable {
            return Err(Hold::Unreliable(Unreliable::NotTheBottom(task.id.0)));
        }
        let frame = |pc: &Pc| Frame {
            cursor: Cursor { pc: pc.addr, sp: 0, fp: 0, exact: pc.exact },
            found: Found::Chain,
        };
        match task.stack.iter().rev().find_map(|pc| code.held_at(&frame(pc))) {
            Some(pc) => Err(Hold::Code(pc)),
            None => Ok(()),
        }
    }

    pub(super) fn ask(&self, id: TaskId) -> Result<(), NoMemory> {
        let mut tasks = self.0.tasks.borrow_mut();
        let task = tasks.pinned(id);
        if task.kind != Kind::User || task.mode == Mode::Exited || fault::due(Fault::Allocation) {
            return Err(NoMemory);
        }
        assert!(!task.asked, "task {} is asked twice", task.pid);
        task.asked = true;
        Ok(())
    }

    pub(super) fn ask_not(&self, id: TaskId) {
        self.0.tasks.borrow_mut().pinned(id).asked = false;
    }

    pub(super) fn set_gathering(&self, wait: bool) {
        let mut tasks = self.0.tasks.borrow_mut();
        tasks.gathering = wait;
        if !wait {
            for task in tasks.all.iter_mut().filter(|task| task.mode == Mode::Waiting) {
                task.mode = Mode::Running;
            }
        }
    }

    pub(super) fn wake_task(&self, id: TaskId) {
        self.0.tasks.borrow_mut().pinned(id).woken = true;
    }

    /// As `Platform::find_holder`.
    pub(super) fn holder(&self, text: &[Range]) -> Option<Holder> {
        let mut holder = None;
        self.stop(&mut || {
            let held = |pc: &&Pc| text.iter().any(|range| range.holds_pc(pc.addr));
            holder = self.0.tasks.borrow().all.iter().find_map(|task| {
                let addr = task.stack.iter().find(held)?.addr;
                Some(Holder { pid: task.pid, comm: *b"sleeper\0\0\0\0\0\0\0\0\0", addr })
            });
        });
        holder
    }
}
