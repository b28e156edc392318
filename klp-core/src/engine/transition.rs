// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The transition: every task is switched when it is out of the functions that change.
//!
//! | step | what | why then |
//! |---|---|---|
//! | 1 | the table of universes is shown: all tasks are where they are | before any callback asks it |
//! | 2 | functions are put in transition ([`FuncRedirect::decide`]) | calls still go where they went |
//! | 3 | the machine is stopped: all tasks are listed, those born later start in the goal's universe | every callback that began before step 2 is over |
//! | 4 | tasks are checked, each while it is held still, and switched: without stopping the machine where it does not run, else in batches with the machine stopped | a task that is held is in no callback |
//! | 5 | functions are settled ([`FuncRedirect::settle`]) | all tasks are in one universe |
//! | 6 | every CPU leaves the callback; the table goes | nobody reads it any more |
//!
//! With [`Switch::Kernel`] all tasks, born or not, stay where they are until one attempt, with the machine stopped, finds
//! all of them outside the code that changes, and switches them there.
//!
//! [`FuncRedirect::decide`]: crate::redirect::FuncRedirect::decide
//! [`FuncRedirect::settle`]: crate::redirect::FuncRedirect::settle

use crate::engine::code::{Change, Code};
use crate::engine::func_stack::{self, FuncStack};
use crate::engine::{Engine, Result};
use crate::patch::{Leave, Members, Model, Object, Patch, PatchId, Switch};
use crate::platform::{Hold, Level, Platform, Range, TaskId};
use crate::universe::{Listed, Universe, Universes};

/// How often a transition is tried before whoever asked for it stops waiting.
pub(super) const FIRST_ATTEMPTS: usize = 2;
/// How many running tasks are checked in one stop of the machine.
const BATCH: usize = 32;
/// How long the tasks that stop at the border to user mode wait for the last, in milliseconds, the first time. Twice as long
/// each time after: where CPUs are slow or many share one, the first is not enough for all to come.
const GATHER_MS: u64 = 200;
/// The longest that they wait. Less than what a task waits at most that nobody lets go (`klp_leaves` in `kmod/shim/leave.c`).
const GATHER_AT_MOST_MS: u64 = 1000;
/// After how many milliseconds tasks that are to leave the kernel are woken at the latest: most sleep in a system call.
const LEAVE_MS: u64 = 1000;
/// Milliseconds between two wake-ups.
const WAKE_EVERY_MS: u64 = 1000;
/// How many tasks that hold a transition up are shown if there is no table of them.
const SHOWN: usize = 16;

/// In which universes a patch's functions are replaced.
pub(super) fn members<P: Platform>(patches: &[Patch<P>], id: PatchId) -> Members {
    patches.iter().find(|patch| patch.id == id).map_or(Members::NONE, |patch| patch.members)
}

/// A patch on its way into or out of effect.
pub(super) struct Transition<P: Platform> {
    patch: PatchId,
    model: Model,
    goal: Universe,
    /// It began to enable the patch: tasks that were never switched were not seen outside its text.
    enables: bool,
    /// What a task must have left, while the goal is what it is.
    code: P::List<Range>,
    /// The table of universes.
    slots: P::Slots,
    /// Step 3 is done. Until then all tasks are where they were.
    listed: bool,
    /// When it began, or was last reversed.
    since: u64,
    woken: Option<u64>,
    /// What changes may be on the stack of a task that leaves the kernel.
    changes_way_out: bool,
    gathering: Gathering,
    /// How long tasks are gathered the next time.
    gather_ms: u64,
}

/// Where a checkpoint is: tasks are made to stop at the border to user mode for a while, then let go for a while.
#[derive(Clone, Copy)]
enum Gathering {
    NotBefore(u64),
    Until(u64),
}

impl<P: Platform> Transition<P> {
    /// Prepares the transition of a patch whose objects are prepared, or that is enabled. Nothing is changed yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(super) fn new(engine: &Engine<P>, platform: &P, index: usize, goal: Universe) -> Result<Self, P> {
        let Patch { id, model, .. } = engine.patches[index];
        Ok(Transition {
            patch: id,
            model,
            goal,
            enables: goal == Universe::Patched,
            code: engine.change(platform, id, goal).code()?,
            slots: table(platform, if model == Model::InTime { 0 } else { platform.task_count() })?,
            listed: false,
            since: platform.now_ms(),
            woken: None,
            changes_way_out: changes_way_out(platform, &engine.patches),
            gathering: Gathering::NotBefore(0),
            gather_ms: GATHER_MS,
        })
    }

    pub(super) fn patch(&self) -> PatchId {
        self.patch
    }

    pub(super) fn goal(&self) -> Universe {
        self.goal
    }

    pub(super) fn enables(&self) -> bool {
        self.enables
    }

    pub(super) fn age(&self, platform: &P) -> u64 {
        platform.now_ms().saturating_sub(self.since)
    }

    /// Ten times in the while that tasks are gathered for. Each attempt stops the machine, and takes the others' time.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        matches!(self.gathering, Gathering::Until(_)).then_some(self.gather_ms / 10)
    }

    fn universes(&self) -> Universes<'_> {
        Universes::new(&self.slots)
    }

    /// Whether tasks are listed, each with its universe.
    fn lists(&self) -> bool {
        self.model != Model::InTime
    }

    /// Steps 1 and 2. The patches' members say already what the universes are.
    pub(super) fn begin(&mut self, platform: &P, patches: &[Patch<P>], stacks: &P::List<FuncStack<P>>) {
        self.universes().set_born(self.goal.other());
        platform.show_universes(Some(&self.slots));
        func_stack::publish::<P>(stacks, None, |id| members(patches, id));
    }

    /// Steps 3 and 4, as far as they can be done now. Answers whether all tasks are switched.
    pub(super) fn advance(&mut self, platform: &P) -> bool {
        match self.model.switch() {
            Switch::Thread => {
                if !self.listed {
                    // Without the memory to list all it is tried again.
                    self.listed = self.list(platform, self.goal.other(), self.goal).is_ok();
                }
                self.listed && self.switch_each(platform)
            }
            Switch::Function | Switch::Kernel if self.model.leave() == Leave::Kernel => self.gather(platform),
            Switch::Function | Switch::Kernel => self.switch_all(platform),
        }
    }

    /// Lists all tasks that are not listed, in the universe `here`; tasks born later start in `born`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory); nothing was changed.
    fn list(&mut self, platform: &P, here: Universe, born: Universe) -> Result<(), P> {
        loop {
            let table = self.universes();
            let listed = table.iter().count();
            let free = table.room() - listed;
            let mut missing = 0;
            platform.stop_machine(&mut || {
                missing = 0;
                platform.each_task(&mut |task| {
                    missing += usize::from(!table.is_listed(task.0));
                    true
                });
                if missing <= free {
                    platform.each_task(&mut |task| {
                        if table.insert(task.0, here) {
                            platform.pin(task);
                        }
                        true
                    });
                    table.set_born(born);
                }
            });
            if missing <= free {
                return Ok(());
            }
            // Some more, since tasks are born meanwhile.
            let bigger = self::table(platform, listed + missing + missing / 4 + 16)?;
            let copy = Universes::new(&bigger);
            platform.stop_machine(&mut || {
                let copied = copy.copy(&table);
                debug_assert!(copied, "the bigger table has room");
                platform.show_universes(Some(&bigger));
            });
            // The machine was stopped since callbacks were last shown it.
            self.slots = bigger;
        }
    }

    /// Checks all tasks that `which` picks, in batches with the machine stopped where there is no other way, and calls
    /// `switch` with those that may be switched, while they are held, and `each` with the others.
    fn check_each(
        &self,
        platform: &P,
        which: impl Fn(&Listed<'_>) -> bool,
        switch: impl Fn(&Listed<'_>),
        mut each: impl FnMut(&Listed<'_>, Hold),
    ) {
        let (table, code, leave) = (self.universes(), Code::new(&self.code), self.model.leave());
        let mut tasks = table.iter().filter(|(_, task)| which(task)).map(|(_, task)| task);
        let mut batch: [Option<(Listed<'_>, core::result::Result<(), Hold>)>; BATCH] =
            [const { None }; BATCH];
        loop {
            let mut running = 0;
            let mut last = true;
            for task in &mut tasks {
                match platform.check(TaskId(task.task()), code, leave, &mut || switch(&task)) {
                    Ok(()) => {}
                    Err(Hold::Running) => {
                        batch[running] = Some((task, Ok(())));
                        running += 1;
                    }
                    Err(hold) => each(&task, hold),
                }
                if running == BATCH {
                    last = false;
                    break;
                }
            }
            if running > 0 {
                platform.stop_machine(&mut || {
                    for (task, checked) in batch[..running].iter_mut().flatten() {
                        *checked = platform.check_stopped(TaskId(task.task()), code, leave);
                        if checked.is_ok() {
                            switch(task);
                        }
                    }
                });
            }
            for (task, checked) in batch[..running].iter_mut().filter_map(Option::take) {
                if let Err(hold) = checked {
                    each(&task, hold);
                }
            }
            if last {
                break;
            }
        }
    }

    /// Step 4, task by task.
    fn switch_each(&mut self, platform: &P) -> bool {
        let goal = self.goal;
        let mut left = 0;
        self.check_each(
            platform,
            |task| task.universe() != goal,
            |task| task.switch(goal),
            |task, hold| {
                left += 1;
                if hold == Hold::InKernel {
                    let _ = ask_to_leave(platform, task);
                }
            },
        );
        if left > 0 && self.wake_due(platform) {
            for (_, task) in self.universes().iter().filter(|(_, task)| task.universe() != goal) {
                // Else it may be back asleep, its system call restarted, before anybody looks. None of what changes is on
                // its stack where it leaves the kernel.
                if !self.changes_way_out {
                    let _ = ask_to_leave(platform, &task);
                }
                platform.wake(TaskId(task.task()));
            }
        }
        left == 0
    }

    /// Step 4 for all tasks at once, if none is inside. Otherwise some task that is may be woken.
    fn switch_all(&mut self, platform: &P) -> bool {
        let (table, code, leave, goal) =
            (self.universes(), Code::new(&self.code), self.model.leave(), self.goal);
        let mut holder = None;
        platform.stop_machine(&mut || {
            holder = None;
            platform.each_task(&mut |task| {
                let waits = table.listed(task.0).is_some_and(|listed| listed.is_waiting());
                if !waits && platform.check_stopped(task, code, leave).is_err() {
                    platform.pin(task);
                    holder = Some(task);
                }
                holder.is_none()
            });
            if holder.is_none() {
                switch_everybody(table, goal);
            }
        });
        if let Some(task) = holder {
            if self.wake_due(platform) {
                platform.wake(task);
            }
            platform.unpin(task);
        }
        holder.is_none()
    }

    /// As [`switch_all`](Self::switch_all), with the tasks that return to user mode stopped at the border.
    fn gather(&mut self, platform: &P) -> bool {
        let now = platform.now_ms();
        let begins = match self.gathering {
            Gathering::NotBefore(time) if now < time => return false,
            Gathering::NotBefore(_) => {
                platform.gather(true);
                self.gathering = Gathering::Until(now + self.gather_ms);
                true
            }
            Gathering::Until(_) => false,
        };
        // Those that are not listed yet are in no other universe than the others.
        let here = self.goal.other();
        if self.list(platform, here, here).is_ok() {
            let mut holder = None;
            self.check_each(
                platform,
                |task| !task.is_waiting(),
                // It counts when all are outside at once.
                |_| {},
                |task, hold| {
                    let id = TaskId(task.task());
                    holder.get_or_insert(id);
                    // Once a round: a wake-up may be lost, and disturbs what the task does.
                    if hold == Hold::InKernel && (ask_to_leave(platform, task) || begins) {
                        platform.wake(id);
                    }
                },
            );
            match holder {
                // The machine would be stopped for nothing.
                Some(task) if self.wake_due(platform) => platform.wake(task),
                Some(_) => {}
                None if self.switch_all(platform) => return true,
                None => {}
            }
        }
        if let Gathering::Until(time) = self.gathering
            && now >= time
        {
            self.scatter(platform);
        }
        false
    }

    fn scatter(&mut self, platform: &P) {
        if let Gathering::Until(_) = self.gathering {
            platform.gather(false);
            // Whoever is about to note that it waits, does so before this returns.
            platform.synchronise();
            self.universes().iter().for_each(|(_, task)| task.set_waiting(false));
            // They run for longer than they waited: the machine has to go on meanwhile.
            self.gathering = Gathering::NotBefore(platform.now_ms() + self.gather_ms * 3 / 2);
            self.gather_ms = (self.gather_ms * 2).min(GATHER_AT_MOST_MS);
        }
    }

    /// Whether tasks that hold the transition up are to be woken now.
    fn wake_due(&mut self, platform: &P) -> bool {
        let now = platform.now_ms();
        let after = match self.model.leave() {
            Leave::Kernel => platform.signal_after_ms().min(LEAVE_MS),
            Leave::Function | Leave::PatchedSet => platform.signal_after_ms(),
        };
        let due = self.woken.map_or(self.since + after, |woken| woken + WAKE_EVERY_MS);
        if now < due {
            return false;
        }
        if self.woken.is_none() {
            platform.log(Level::Notice, format_args!("signaling remaining tasks"));
        }
        self.woken = Some(now);
        true
    }

    /// Turns around. Answers whether nobody was switched yet, so that the transition is over.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory); nothing was changed.
    pub(super) fn reverse(&mut self, engine: &Engine<P>, platform: &P, index: usize) -> Result<bool, P> {
        let goal = self.goal.other();
        let code = engine.change(platform, self.patch, goal).code()?;
        // Those that were born since are where the others were to go.
        if self.listed {
            self.list(platform, self.goal, goal)?;
        }
        self.scatter(platform);
        self.gather_ms = GATHER_MS;
        let name = engine.patches[index].name;
        let (from, to) = (direction(self.goal), direction(goal));
        platform
            .log(Level::Debug, format_args!("'{}': reversing transition from {from} to {to}", name.as_ref()));
        platform.log(Level::Notice, format_args!("'{}': starting {to} transition", name.as_ref()));
        self.goal = goal;
        self.code = code;
        self.since = platform.now_ms();
        self.woken = None;
        Ok(!self.listed)
    }

    /// Switches all tasks.
    pub(super) fn force(&mut self, platform: &P) {
        let (table, goal) = (self.universes(), self.goal);
        platform.stop_machine(&mut || switch_everybody(table, goal));
    }

    /// Step 6. All tasks are in one universe, and all functions are settled.
    pub(super) fn end(mut self, platform: &P) {
        self.scatter(platform);
        platform.synchronise();
        platform.show_universes(None);
        // Tasks that switch themselves look at the table outside of callbacks. Those of an earlier transition may be late.
        platform.synchronise();
        for (_, task) in self.universes().iter() {
            let id = TaskId(task.task());
            if task.is_asked() {
                platform.ask_no_more(id);
            }
            platform.unpin(id);
        }
    }

    /// As [`Engine::each_blocked`].
    pub(super) fn each_blocked(&self, platform: &P, each: &mut dyn FnMut(TaskId, Hold, u64)) {
        let (code, leave) = (Code::new(&self.code), self.model.leave());
        let age = self.age(platform);
        if self.lists() {
            self.check_each(
                platform,
                |task| task.universe() != self.goal && !task.is_waiting(),
                |_| {},
                |task, hold| each(TaskId(task.task()), hold, age),
            );
            return;
        }
        let mut shown = [None; SHOWN];
        platform.stop_machine(&mut || {
            let mut places = shown.iter_mut();
            platform.each_task(&mut |task| {
                if let Err(hold) = platform.check_stopped(task, code, leave) {
                    let Some(place) = places.next() else { return false };
                    platform.pin(task);
                    *place = Some((task, hold));
                }
                true
            });
        });
        for (task, hold) in shown.into_iter().flatten() {
            each(task, hold, age);
            platform.unpin(task);
        }
    }

    /// Makes tasks leave the functions of an object that comes, too. Its code has not run yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(super) fn cover(
        &mut self,
        platform: &P,
        patches: &[Patch<P>],
        stacks: &P::List<FuncStack<P>>,
        of: &Patch<P>,
        object: &Object<P>,
    ) -> Result<(), P> {
        let change = Change { platform, patches, stacks, patch: self.patch, goal: self.goal };
        change.add_object(of, object, &mut self.code)
    }
}

fn direction(goal: Universe) -> &'static str {
    match goal {
        Universe::Patched => "patching",
        Universe::Unpatched => "unpatching",
    }
}

fn changes_way_out<P: Platform>(platform: &P, patches: &[Patch<P>]) -> bool {
    let objects = patches.iter().flat_map(|patch| patch.objects.iter());
    objects.flat_map(|object| object.funcs.iter()).any(|func| platform.is_way_out(func.name))
}

/// Answers whether it was not asked before.
fn ask_to_leave<P: Platform>(platform: &P, task: &Listed<'_>) -> bool {
    if !task.ask() {
        return false;
    }
    if platform.ask_to_leave(TaskId(task.task())).is_err() {
        // Asked again the next time.
        task.left();
    }
    true
}

/// The machine is stopped.
fn switch_everybody(table: Universes<'_>, goal: Universe) {
    table.iter().for_each(|(_, task)| task.switch(goal));
    table.set_born(goal);
}

/// An empty table with room for so many tasks.
fn table<P: Platform>(platform: &P, tasks: usize) -> Result<P::Slots, P> {
    Ok(platform.new_slots(Universes::slots_for(tasks))?)
}
